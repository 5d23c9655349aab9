#include "frame.h"

#include <string.h>

#include "bytes.h"
#include "cobs.h"
#include "crc32.h"

_Static_assert(FRAME_MAX_SIZE <= COBS_MAX_SIZE, "a frame must fit one block of COBS");

void decoder_start(decoder_t *decoder)
{
    memset(decoder, 0, sizeof *decoder);
}

/* What lies between two delimiters: a frame, or an error to count. */
static bool finish(decoder_t *decoder, size_t stuffed, frame_t *frame)
{
    uint8_t *bytes = decoder->bytes;
    int size = stuffed <= FRAME_MAX_STUFFED ? cobs_decode(bytes, stuffed, bytes) : -1;
    int payload = size > 0 ? message_payload_size(bytes[0]) : -1;
    if (payload < 0 || size != 1 + payload + PROTOCOL_CRC_SIZE) {
        decoder->framing_errors++;
        return false;
    }
    if (get_u32(bytes + 1 + payload) != crc32(bytes, 1 + (size_t)payload)) {
        decoder->crc_errors++;
        return false;
    }
    decoder->frames++;
    frame->id = bytes[0];
    frame->payload = bytes + 1;
    return true;
}

bool decoder_push(decoder_t *decoder, uint8_t byte, frame_t *frame)
{
    size_t size = decoder->size;
    if (byte == 0) {
        decoder->size = 0;
        return size > 0 && finish(decoder, size, frame);
    }
    if (size < FRAME_MAX_STUFFED) {
        decoder->bytes[size] = byte;
    }
    if (size <= FRAME_MAX_STUFFED) {
        decoder->size = size + 1;
    }
    return false;
}

size_t frame_encode(uint8_t id, const uint8_t *payload, uint8_t wire[FRAME_MAX_WIRE])
{
    uint8_t bytes[FRAME_MAX_SIZE];
    size_t size = (size_t)message_payload_size(id);
    bytes[0] = id;
    memcpy(bytes + 1, payload, size);
    put_u32(bytes + 1 + size, crc32(bytes, 1 + size));
    size += 1 + PROTOCOL_CRC_SIZE;

    wire[0] = 0;
    cobs_encode(bytes, size, wire + 1);
    wire[size + 2] = 0;
    return size + 3;
}
