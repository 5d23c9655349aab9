#include "clock.h"

#include "hal.h"
#include "registers.h"

#define HSI_HZ 16000000u
#define HSE_HZ 8000000u /* the crystal of this board */
#define PLL_INPUT_HZ 1000000u
#define FAST_HZ 168000000u
#define TICK_HZ 1000u
#define TICK_US 1000u
#define MICROS_HZ 1000000u
#define QEMU_TIMER_HZ 1000000000u /* of its model of TIM2; silicon's depends on the bus */
/* Longer than any of these takes (RM0090: crystal 2 ms, PLL 0.3 ms), in turns of an empty loop. */
#define PATIENCE 100000u

static clock_rates_t rates;
static volatile bool awake; /* SysTick came */
static uint32_t tick;
static uint32_t tick_us; /* when it was due */

static bool comes_true(volatile uint32_t *where, uint32_t mask, uint32_t value)
{
    for (uint32_t turn = 0; turn < PATIENCE; turn++) {
        if ((*where & mask) == value) {
            return true;
        }
    }
    return false;
}

/* 168 MHz from the crystal or, without one, from the internal oscillator; false: still 16 MHz. */
static bool speed_up(void)
{
    RCC_CR |= RCC_CR_HSEON;
    const bool crystal = comes_true(&RCC_CR, RCC_CR_HSERDY, RCC_CR_HSERDY);
    const uint32_t divider = (crystal ? HSE_HZ : HSI_HZ) / PLL_INPUT_HZ;
    RCC_PLLCFGR = RCC_PLLCFGR_M(divider) | RCC_PLLCFGR_N(2u * FAST_HZ / PLL_INPUT_HZ) |
                  RCC_PLLCFGR_P2 | RCC_PLLCFGR_Q(7u) | (crystal ? RCC_PLLCFGR_HSE : 0u);
    RCC_CR |= RCC_CR_PLLON;
    if (!comes_true(&RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY)) {
        return false;
    }
    FLASH_ACR = FLASH_ACR_5_WAIT_STATES | FLASH_ACR_PREFETCH_AND_CACHES;
    RCC_CFGR = RCC_CFGR_PPRE1_BY_4 | RCC_CFGR_PPRE2_BY_2 | RCC_CFGR_SW_PLL;
    return comes_true(&RCC_CFGR, RCC_CFGR_SWS_MASK, RCC_CFGR_SWS_PLL);
}

/* TIM2 counts microseconds through all of its 32 bits and wraps. */
static void start_micros(uint32_t timer_hz)
{
    RCC_APB1ENR |= RCC_APB1ENR_TIM2;
    TIM2_PSC = timer_hz / MICROS_HZ - 1u;
    TIM2_EGR = TIM_EGR_UPDATE; /* takes the divider over */
    TIM2_CR1 = TIM_CR1_ENABLE;
}

static void start_tick(void)
{
    SYST_RVR = rates.cpu_hz / TICK_HZ - 1u;
    SYST_CVR = 0u;
    SYST_CSR = SYST_CSR_ENABLE | SYST_CSR_TICKINT | SYST_CSR_CPU_CLOCK;
    tick_us = hal_micros();
}

void clock_start(void)
{
    /* Out of reset silicon runs on its internal oscillator and shows it. QEMU has no clock control,
     * all of it reads 0, and its core counts at a fixed 168 MHz. */
    rates.emulated = (RCC_CR & RCC_CR_HSION) == 0u;
    uint32_t timer_hz = HSI_HZ;
    if (rates.emulated || speed_up()) {
        rates.cpu_hz = FAST_HZ;
        rates.apb1_hz = FAST_HZ / 4u;
        rates.apb2_hz = FAST_HZ / 2u;
        timer_hz = rates.emulated ? QEMU_TIMER_HZ : FAST_HZ / 2u; /* RM0090 figure 21 */
    } else {
        RCC_CFGR = 0u;
        rates.cpu_hz = rates.apb1_hz = rates.apb2_hz = HSI_HZ;
    }
    start_micros(timer_hz);
    start_tick();
}

const clock_rates_t *clock_rates(void)
{
    return &rates;
}

uint32_t clock_tick(void)
{
    return tick;
}

bool clock_tick_waits(void)
{
    return awake;
}

void systick_handler(void)
{
    awake = true;
}

uint32_t hal_micros(void)
{
    return TIM2_CNT;
}

bool hal_tick_due(void)
{
    if (!awake) {
        return false;
    }
    awake = false;
    /* To the nearest. Ticks that were missed are skipped, and those that an emulator makes up for
     * in a burst are none. */
    const uint32_t passed = (hal_micros() - tick_us + TICK_US / 2u) / TICK_US;
    tick += passed;
    tick_us += passed * TICK_US;
    return passed > 0u;
}
