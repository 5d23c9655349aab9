/* Frames on the line: 0x00 | COBS(id, payload, CRC-32) | 0x00.
 *
 * With a delimiter on both sides, whatever breaks one frame, even a broken delimiter, breaks only
 * that one.
 */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

#define FRAME_MAX_SIZE (1 + PROTOCOL_MAX_PAYLOAD + PROTOCOL_CRC_SIZE)
#define FRAME_MAX_STUFFED (FRAME_MAX_SIZE + 1)
#define FRAME_MAX_WIRE (FRAME_MAX_STUFFED + 2)

/* An undamaged frame. Its payload lies in the decoder, until the next byte is pushed. */
typedef struct {
    uint8_t id;
    const uint8_t *payload; /* message_payload_size(id) bytes */
} frame_t;

typedef struct {
    uint8_t bytes[FRAME_MAX_STUFFED]; /* since the last delimiter */
    size_t size;                      /* of these; FRAME_MAX_STUFFED + 1: there were too many */
    uint32_t frames;                  /* good ones */
    uint32_t crc_errors;              /* the right length for their id, but damaged */
    uint32_t framing_errors;          /* everything else between two delimiters */
} decoder_t;

void decoder_start(decoder_t *decoder);

/* Takes one byte from the line; true if it completes a good frame. */
bool decoder_push(decoder_t *decoder, uint8_t byte, frame_t *frame);

/* Writes a whole frame of message_payload_size(id) payload bytes; returns its size on the line. */
size_t frame_encode(uint8_t id, const uint8_t *payload, uint8_t wire[FRAME_MAX_WIRE]);

#endif
