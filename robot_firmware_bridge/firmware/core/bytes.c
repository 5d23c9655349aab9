#include "bytes.h"

#include <math.h>
#include <string.h>

void put_u8(uint8_t *to, uint8_t value)
{
    to[0] = value;
}

void put_u16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

void put_u32(uint8_t *to, uint32_t value)
{
    put_u16(to, (uint16_t)value);
    put_u16(to + 2, (uint16_t)(value >> 16));
}

void put_u64(uint8_t *to, uint64_t value)
{
    put_u32(to, (uint32_t)value);
    put_u32(to + 4, (uint32_t)(value >> 32));
}

void put_f32(uint8_t *to, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_u32(to, bits);
}

uint8_t get_u8(const uint8_t *from)
{
    return from[0];
}

uint16_t get_u16(const uint8_t *from)
{
    return (uint16_t)(from[0] | (uint16_t)(from[1] << 8));
}

uint32_t get_u32(const uint8_t *from)
{
    return get_u16(from) | (uint32_t)get_u16(from + 2) << 16;
}

uint64_t get_u64(const uint8_t *from)
{
    return get_u32(from) | (uint64_t)get_u32(from + 4) << 32;
}

float get_f32(const uint8_t *from)
{
    uint32_t bits = get_u32(from);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The nearest whole number of units within [low, high]; 0 for NaN. */
static int32_t whole_units(float value, float unit, float low, float high)
{
    float units = value / unit;
    if (isnan(units)) {
        return 0;
    }
    return (int32_t)rintf(units < low ? low : units > high ? high : units);
}

void put_scaled_u16(uint8_t *to, float value, float unit)
{
    put_u16(to, (uint16_t)whole_units(value, unit, 0.0f, 65535.0f));
}

void put_scaled_i16(uint8_t *to, float value, float unit)
{
    put_u16(to, (uint16_t)whole_units(value, unit, -32768.0f, 32767.0f));
}

float get_scaled_u16(const uint8_t *from, float unit)
{
    return (float)get_u16(from) * unit;
}

float get_scaled_i16(const uint8_t *from, float unit)
{
    /* Sign by arithmetic: a cast of a value past INT16_MAX is the compiler's choice. */
    int32_t raw = get_u16(from);
    return (float)(raw < 32768 ? raw : raw - 65536) * unit;
}
