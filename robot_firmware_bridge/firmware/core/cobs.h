/* Consistent overhead byte stuffing: takes the zeros out of a frame, so that a zero ends it.
 *
 * For data of up to COBS_MAX_SIZE bytes, where the stuffed form is just one byte longer.
 */
#ifndef COBS_H
#define COBS_H

#include <stddef.h>
#include <stdint.h>

#define COBS_MAX_SIZE 253

/* Writes size + 1 bytes, none of them zero. */
void cobs_encode(const uint8_t *data, size_t size, uint8_t *stuffed);

/* Undoes it, in place if wanted (data == stuffed). `stuffed` must be without zeros. Returns the
 * bytes of data, or -1 if no encoder makes such a thing.
 */
int cobs_decode(const uint8_t *stuffed, size_t size, uint8_t *data);

#endif
