/* From reset to main, and what happens when something goes wrong after that. */
#include <stdint.h>

#include "board.h"
#include "clock.h"
#include "plant_line.h"
#include "registers.h"

#define STM32F405_INTERRUPTS 82u /* RM0090 table 61 */

/* From the linker script. */
extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;

int main(void);
void reset_handler(void);
void fault_handler(void);

void reset_handler(void)
{
    SCB_CPACR |= SCB_CPACR_FPU; /* before any code that might use a float register */
    __asm volatile("dsb\n isb" ::: "memory");
    const uint32_t *from = &data_load;
    for (uint32_t *to = &data_start; to < &data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = &bss_start; to < &bss_end; to++) {
        *to = 0u;
    }
    (void)main();
    board_fault();
}

/* Any fault, and any unexpected interrupt: a fresh stack, for the old one may be the
 * trouble, then open the bridges and start anew. */
__attribute__((naked)) void fault_handler(void)
{
    __asm volatile("cpsid i\n"
                   "ldr r0, =stack_top\n"
                   "msr msp, r0\n"
                   "b board_fault\n");
}

typedef union {
    void (*handler)(void);
    const void *address;
} vector_t;

__attribute__((section(".vectors"), used)) const vector_t vectors[16u + STM32F405_INTERRUPTS] = {
    [0] = {.address = &stack_top},
    [1] = {.handler = reset_handler},
    [2 ... 6] = {.handler = fault_handler},
    [11 ... 12] = {.handler = fault_handler},
    [14] = {.handler = fault_handler},
    [15] = {.handler = systick_handler},
    [16 ... 16u + USART1_IRQ - 1u] = {.handler = fault_handler},
    [16u + USART1_IRQ] = {.handler = usart1_handler},
    [16u + USART2_IRQ] = {.handler = usart2_handler},
    [16u + USART2_IRQ + 1u ... 15u + STM32F405_INTERRUPTS] = {.handler = fault_handler},
};
