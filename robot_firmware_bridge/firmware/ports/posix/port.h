/* A board whose hardware is memory: the firmware as a shared library.
 *
 * The caller owns the clock, the sensors and the far end of the host's line, and sees what the
 * bridges do. One board per process.
 */
#ifndef PORT_H
#define PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "types.h"

/* All else stays inside the library, where no other library's names can take its place. */
#pragma GCC visibility push(default)

/* Power on, or reset. What was on the line is lost. */
void port_start(uint16_t boot_count, uint32_t baud, const uint8_t board_id[12]);

/* Bytes that arrive from the host; what does not fit the receive buffer is lost, as in a UART. */
void port_receive(const uint8_t *from, size_t size);

/* One millisecond: at this time of the board's clock the sensors read this; one firmware_poll().
 * `drive` is what the bridges do from then on.
 */
void port_tick(uint32_t time_us, const sensors_t *sensors, drive_t *drive);

/* Takes what the firmware has sent; returns how many bytes. */
size_t port_transmit(uint8_t *to, size_t capacity);

#pragma GCC visibility pop

#endif
