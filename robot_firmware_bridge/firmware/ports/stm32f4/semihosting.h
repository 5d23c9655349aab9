/* Files of the machine that an emulator runs on, through Arm's semihosting calls. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    SEMIHOSTING_READ = 1,  /* "rb" */
    SEMIHOSTING_WRITE = 5, /* "wb" */
} semihosting_mode_t;

/* Opens a file; returns its handle, or -1. */
int32_t semihosting_open(const char *path, semihosting_mode_t mode);

/* Reads from the beginning of a file; returns the number of bytes. */
size_t semihosting_read_anew(int32_t handle, uint8_t *to, size_t capacity);

void semihosting_write(int32_t handle, const uint8_t *from, size_t size);

#endif
