/* Windows on single parts of the core, for tests and the fuzzer: plain buffers in and out. */
#ifndef PROBE_H
#define PROBE_H

#include <stddef.h>
#include <stdint.h>

/* All else stays inside the library, where no other library's names can take its place. */
#pragma GCC visibility push(default)

/* A decoder of its own. Feed writes every frame found as id and payload, one after the other, and
 * returns how many bytes that were; frames that no longer fit are left out. Counters: frames, CRC
 * errors, framing errors.
 */
void probe_decoder_start(void);
size_t probe_decoder_feed(const uint8_t *from, size_t size, uint8_t *to, size_t capacity);
void probe_decoder_counters(uint32_t counters[3]);

/* Payload to frame; returns its size. `wire` holds FRAME_MAX_WIRE bytes. */
size_t probe_encode(uint8_t id, const uint8_t *payload, uint8_t *wire);

/* Payload to the message's struct and back to bytes; 0, or -1 for an unknown id. */
int probe_repack(uint8_t id, const uint8_t *payload, uint8_t *again);

/* The drive law: target, position, velocity of 8 motors; kp, kd, battery, duty scale, duty bound;
 * out: duty, current, torque of 8 motors.
 */
void probe_drive_law(const float motors[24], const float numbers[5], float out[24]);

/* The thermal model from cold, `ticks` under constant currents; out: windings, housings. */
void probe_thermal(const float current_a[8], const float measured_c[8], uint32_t ticks,
                   float out[16]);

#pragma GCC visibility pop

#endif
