/* Numbers in the bytes of a frame: little endian, one byte at a time, so that neither the machine's
 * byte order nor its alignment matter. Scaled numbers are whole units on the wire: rounded to the
 * nearest, saturated, and 0 for a NaN.
 */
#ifndef BYTES_H
#define BYTES_H

#include <stdint.h>

void put_u8(uint8_t *to, uint8_t value);
void put_u16(uint8_t *to, uint16_t value);
void put_u32(uint8_t *to, uint32_t value);
void put_u64(uint8_t *to, uint64_t value);
void put_f32(uint8_t *to, float value);
void put_scaled_u16(uint8_t *to, float value, float unit);
void put_scaled_i16(uint8_t *to, float value, float unit);

uint8_t get_u8(const uint8_t *from);
uint16_t get_u16(const uint8_t *from);
uint32_t get_u32(const uint8_t *from);
uint64_t get_u64(const uint8_t *from);
float get_f32(const uint8_t *from);
float get_scaled_u16(const uint8_t *from, float unit);
float get_scaled_i16(const uint8_t *from, float unit);

#endif
