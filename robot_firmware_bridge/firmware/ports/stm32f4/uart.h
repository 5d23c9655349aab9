/* Serial ports behind rings: interrupts move the bytes, the main loop never waits for one. */
#ifndef UART_H
#define UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "registers.h"

#define UART_RING 1024u /* a power of two, for its indices run on and wrap */

/* One side puts in and one takes out, so neither has to lock the other out. */
typedef struct {
    uint8_t bytes[UART_RING];
    volatile uint32_t put;
    volatile uint32_t taken;
} ring_t;

typedef struct {
    usart_t *registers;
    uint32_t interrupt;
    bool instant; /* emulated, set by the caller: a byte is gone as soon as it is written */
    ring_t received;
    ring_t to_send;
} uart_t;

/* Start a port, 8N1. Its pins and its clock are the caller's. */
void uart_start(uart_t *uart, usart_t *registers, uint32_t interrupt, uint32_t bus_hz,
                uint32_t baud);

/* Bytes that arrived; returns how many were written to `to`. */
size_t uart_read(uart_t *uart, uint8_t *to, size_t capacity);

bool uart_has_input(const uart_t *uart);

/* Queue bytes, all or none: false if there is no room for all. */
bool uart_write(uart_t *uart, const uint8_t *from, size_t size);

/* Send without interrupts and after what is on its way; waits, but not for ever. For the last words
 * of a fault handler. */
void uart_write_now(usart_t *registers, const uint8_t *from, size_t size);

/* What the port's interrupt handler does. */
void uart_interrupt(uart_t *uart);

#endif
