#include "board.h"

#include <string.h>

#include "clock.h"
#include "firmware.h"
#include "hal.h"
#include "plant_line.h"
#include "registers.h"
#include "uart.h"

#define HOST_BAUD 921600u
/* Past this without a control tick the chip resets: the oscillator behind it runs at 17 to 47 kHz
 * (32 typical), so 20 ms means 14 to 38. */
#define WATCHDOG_MS 20u
#define WATCHDOG_HZ 32000u
#define BOOTS_MAGIC 0x424F4F54u

static uart_t host;

/* Not cleared at start: it outlives every reset but that of the power. */
static struct {
    uint32_t magic;
    uint32_t count;
} boots __attribute__((section(".noinit")));

static void count_boot(void)
{
    boots.count = boots.magic == BOOTS_MAGIC ? boots.count + 1u : 1u;
    boots.magic = BOOTS_MAGIC;
}

/* Both ports are function 7 of their pins: PA9, PA10 for USART1 and PA2, PA3 for USART2. The
 * receiving pins are pulled up, so that an open line is a quiet one. */
static void start_pins(void)
{
    RCC_AHB1ENR |= RCC_AHB1ENR_GPIOA;
    RCC_APB1ENR |= RCC_APB1ENR_USART2;
    RCC_APB2ENR |= RCC_APB2ENR_USART1;
    GPIOA_PUPDR |= (1u << 2u * 10u) | (1u << 2u * 3u);
    GPIOA_AFRL |= (7u << 4u * 2u) | (7u << 4u * 3u);
    GPIOA_AFRH |= (7u << 4u * (9u - 8u)) | (7u << 4u * (10u - 8u));
    GPIOA_MODER |= (2u << 2u * 9u) | (2u << 2u * 10u) | (2u << 2u * 2u) | (2u << 2u * 3u);
}

static void start_watchdog(void)
{
    IWDG_KR = IWDG_KR_START;
    IWDG_KR = IWDG_KR_UNLOCK;
    IWDG_PR = IWDG_PR_BY_4;
    IWDG_RLR = WATCHDOG_MS * (WATCHDOG_HZ / 4u) / 1000u;
    hal_alive();
}

int main(void)
{
    count_boot();
    clock_start();
    start_pins();
    host.instant = clock_rates()->emulated;
    uart_start(&host, USART1, USART1_IRQ, clock_rates()->apb2_hz, HOST_BAUD);
    plant_line_start();
    firmware_start();
    start_watchdog();
    for (;;) {
        firmware_poll();
        hal_idle();
    }
}

void board_fault(void)
{
    plant_line_release();
    __asm volatile("dsb" ::: "memory");
    SCB_AIRCR = SCB_AIRCR_RESET;
    for (;;) {
    }
}

void usart1_handler(void)
{
    uart_interrupt(&host);
}

void hal_idle(void)
{
    /* With interrupts held off, none can slip in between the question and the sleep; a pending one
     * ends the sleep all the same, and is taken right after. */
    __asm volatile("cpsid i" ::: "memory");
    if (!clock_tick_waits() && !uart_has_input(&host)) {
        __asm volatile("dsb\n wfi" ::: "memory");
    }
    __asm volatile("cpsie i" ::: "memory");
}

void hal_alive(void)
{
    IWDG_KR = IWDG_KR_RELOAD;
}

size_t hal_host_read(uint8_t *to, size_t capacity)
{
    return uart_read(&host, to, capacity);
}

bool hal_host_write(const uint8_t *from, size_t size)
{
    return uart_write(&host, from, size);
}

uint32_t hal_host_baud(void)
{
    return HOST_BAUD;
}

uint16_t hal_boot_count(void)
{
    return (uint16_t)boots.count;
}

void hal_board_id(uint8_t id[12])
{
    static const uint8_t emulated[12] = "qemu";
    for (size_t i = 0; i < 12u; i++) { /* an emulator has no memory where the number is */
        id[i] = clock_rates()->emulated ? emulated[i] : UNIQUE_ID_BYTES[i];
    }
}
