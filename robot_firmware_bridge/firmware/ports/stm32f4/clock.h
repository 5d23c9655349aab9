/* The core's clock, the microseconds (TIM2) and the millisecond tick (SysTick). */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t cpu_hz;
    uint32_t apb1_hz; /* feeds USART2 */
    uint32_t apb2_hz; /* feeds USART1 */
    bool emulated;    /* no clock control answers: this is an emulator, not silicon */
} clock_rates_t;

/* Run the core as fast as its crystal allows, and start the tick. Call once, first. */
void clock_start(void);

const clock_rates_t *clock_rates(void);

/* The tick that hal_tick_due() took last, in milliseconds since the start; wraps. */
uint32_t clock_tick(void);

/* Whether hal_tick_due() has something to look at. Takes nothing. */
bool clock_tick_waits(void);

void systick_handler(void);

#endif
