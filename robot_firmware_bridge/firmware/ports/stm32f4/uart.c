#include "uart.h"

#include <stdatomic.h>

/* Turns of an empty loop: more than a byte takes at 115200 baud, 15000 cycles at 168 MHz. */
#define BYTE_PATIENCE 20000u

static bool ring_put(ring_t *ring, uint8_t byte)
{
    const uint32_t put = ring->put;
    if (put - ring->taken == UART_RING) {
        return false;
    }
    ring->bytes[put % UART_RING] = byte;
    atomic_signal_fence(memory_order_release); /* the byte is there before its index says so */
    ring->put = put + 1u;
    return true;
}

static bool ring_take(ring_t *ring, uint8_t *byte)
{
    const uint32_t taken = ring->taken;
    if (taken == ring->put) {
        return false;
    }
    atomic_signal_fence(memory_order_acquire);
    *byte = ring->bytes[taken % UART_RING];
    atomic_signal_fence(memory_order_release); /* it is read before its place is free */
    ring->taken = taken + 1u;
    return true;
}

void uart_start(uart_t *uart, usart_t *registers, uint32_t interrupt, uint32_t bus_hz,
                uint32_t baud)
{
    uart->registers = registers;
    uart->interrupt = interrupt;
    registers->brr = (bus_hz + baud / 2u) / baud; /* 16 samples a bit, RM0090 section 30.3.4 */
    registers->cr1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE | USART_CR1_RXNEIE;
    NVIC_ISER(interrupt) = NVIC_BIT(interrupt);
}

size_t uart_read(uart_t *uart, uint8_t *to, size_t capacity)
{
    size_t count = 0;
    while (count < capacity && ring_take(&uart->received, &to[count])) {
        count++;
    }
    return count;
}

bool uart_has_input(const uart_t *uart)
{
    return uart->received.put != uart->received.taken;
}

bool uart_write(uart_t *uart, const uint8_t *from, size_t size)
{
    if (UART_RING - (uart->to_send.put - uart->to_send.taken) < size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        (void)ring_put(&uart->to_send, from[i]);
    }
    uart->registers->cr1 |= USART_CR1_TXEIE;
    /* Silicon raises the interrupt by itself now. QEMU's port never does, so ask for it. */
    NVIC_ISPR(uart->interrupt) = NVIC_BIT(uart->interrupt);
    return true;
}

static void wait_for(usart_t *registers, uint32_t flag)
{
    for (uint32_t turn = 0; turn < BYTE_PATIENCE && (registers->sr & flag) == 0u; turn++) {
    }
}

void uart_write_now(usart_t *registers, const uint8_t *from, size_t size)
{
    registers->cr1 = USART_CR1_UE | USART_CR1_TE;
    for (size_t i = 0; i < size; i++) {
        wait_for(registers, USART_SR_TXE);
        registers->dr = from[i];
    }
    wait_for(registers, USART_SR_TC);
}

static void send_next(uart_t *uart)
{
    uint8_t byte;
    do { /* one byte, or all where the port is never busy: asking it costs more than sending */
        if (!ring_take(&uart->to_send, &byte)) {
            uart->registers->cr1 &= ~USART_CR1_TXEIE;
            return;
        }
        uart->registers->dr = byte;
    } while (uart->instant);
}

void uart_interrupt(uart_t *uart)
{
    const uint32_t status = uart->registers->sr;
    if (status & (USART_SR_RXNE | USART_SR_ORE)) {
        /* Reading the data clears both. A byte that was overrun, or that finds the ring full, is
         * lost: its frame fails the check and is counted there. */
        (void)ring_put(&uart->received, (uint8_t)uart->registers->dr);
    }
    if (status & USART_SR_TXE) {
        send_next(uart);
    }
}
