/* CRC-32 as in IEEE 802.3, zlib and PNG. */
#ifndef CRC32_H
#define CRC32_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32(const uint8_t *data, size_t size);

#endif
