#include "cobs.h"

#include <stdbool.h>

void cobs_encode(const uint8_t *data, size_t size, uint8_t *stuffed)
{
    size_t code_at = 0; /* where the distance to the next zero belongs */
    for (size_t i = 0; i < size; i++) {
        stuffed[i + 1] = data[i];
        if (data[i] == 0) {
            stuffed[code_at] = (uint8_t)(i + 1 - code_at);
            code_at = i + 1;
        }
    }
    stuffed[code_at] = (uint8_t)(size + 1 - code_at);
}

int cobs_decode(const uint8_t *stuffed, size_t size, uint8_t *data)
{
    size_t next_code = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = stuffed[i];
        bool is_code = i == next_code;
        if (is_code) {
            next_code += byte;
        }
        if (i > 0) {
            data[i - 1] = is_code ? 0 : byte; /* the first code stands for no byte of data */
        }
    }
    return next_code == size ? (int)size - 1 : -1;
}
