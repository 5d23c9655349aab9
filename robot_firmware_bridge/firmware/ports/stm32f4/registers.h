/* The few registers that this port touches, each where ST's reference manual RM0090 (STM32F405/407)
 * and Arm's architecture manual for ARMv7-M (DDI 0403) put it. Only what is used is here.
 */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* --- core, DDI 0403 part B3 --- */
#define SYST_CSR REGISTER(0xE000E010u) /* SysTick control and status, B3.3.3 */
#define SYST_CSR_ENABLE (1u << 0)
#define SYST_CSR_TICKINT (1u << 1)
#define SYST_CSR_CPU_CLOCK (1u << 2)
#define SYST_RVR REGISTER(0xE000E014u) /* SysTick reload value, B3.3.4 */
#define SYST_CVR REGISTER(0xE000E018u) /* SysTick current value, counts down, B3.3.5 */

#define NVIC_ISER(number) REGISTER(0xE000E100u + 4u * ((number) / 32u)) /* enable, B3.4.4 */
#define NVIC_ISPR(number) REGISTER(0xE000E200u + 4u * ((number) / 32u)) /* set pending, B3.4.6 */
#define NVIC_BIT(number) (1u << ((number) % 32u))

#define SCB_AIRCR REGISTER(0xE000ED0Cu) /* application interrupt and reset control, B3.2.6 */
#define SCB_AIRCR_RESET ((0x05FAu << 16) | (1u << 2))
#define SCB_CPACR REGISTER(0xE000ED88u) /* coprocessor access control, B3.2.20 */
#define SCB_CPACR_FPU (0xFu << 20)

/* --- reset and clock control, RM0090 section 7.3 --- */
#define RCC_CR REGISTER(0x40023800u)
#define RCC_CR_HSION (1u << 0)
#define RCC_CR_HSEON (1u << 16)
#define RCC_CR_HSERDY (1u << 17)
#define RCC_CR_PLLON (1u << 24)
#define RCC_CR_PLLRDY (1u << 25)
#define RCC_PLLCFGR REGISTER(0x40023804u)
#define RCC_PLLCFGR_M(value) ((value) << 0)
#define RCC_PLLCFGR_N(value) ((value) << 6)
#define RCC_PLLCFGR_P2 (0u << 16)
#define RCC_PLLCFGR_HSE (1u << 22)
#define RCC_PLLCFGR_Q(value) ((value) << 24)
#define RCC_CFGR REGISTER(0x40023808u)
#define RCC_CFGR_SW_PLL (2u << 0)
#define RCC_CFGR_SWS_MASK (3u << 2)
#define RCC_CFGR_SWS_PLL (2u << 2)
#define RCC_CFGR_PPRE1_BY_4 (5u << 10)
#define RCC_CFGR_PPRE2_BY_2 (4u << 13)
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define RCC_AHB1ENR_GPIOA (1u << 0)
#define RCC_APB1ENR REGISTER(0x40023840u)
#define RCC_APB1ENR_TIM2 (1u << 0)
#define RCC_APB1ENR_USART2 (1u << 17)
#define RCC_APB2ENR REGISTER(0x40023844u)
#define RCC_APB2ENR_USART1 (1u << 4)

/* --- flash interface, RM0090 section 3.9 --- */
#define FLASH_ACR REGISTER(0x40023C00u)
#define FLASH_ACR_5_WAIT_STATES (5u << 0)
#define FLASH_ACR_PREFETCH_AND_CACHES (7u << 8)

/* --- port A, RM0090 section 8.4 --- */
#define GPIOA_MODER REGISTER(0x40020000u)
#define GPIOA_PUPDR REGISTER(0x4002000Cu)
#define GPIOA_AFRL REGISTER(0x40020020u)
#define GPIOA_AFRH REGISTER(0x40020024u)

/* --- serial ports, RM0090 section 30.6; interrupt numbers: table 61 --- */
typedef struct {
    volatile uint32_t sr;
    volatile uint32_t dr;
    volatile uint32_t brr;
    volatile uint32_t cr1;
} usart_t;

#define USART1 ((usart_t *)0x40011000u)
#define USART1_IRQ 37u
#define USART2 ((usart_t *)0x40004400u)
#define USART2_IRQ 38u
#define USART_SR_ORE (1u << 3)
#define USART_SR_RXNE (1u << 5)
#define USART_SR_TC (1u << 6)
#define USART_SR_TXE (1u << 7)
#define USART_CR1_RE (1u << 2)
#define USART_CR1_TE (1u << 3)
#define USART_CR1_RXNEIE (1u << 5)
#define USART_CR1_TXEIE (1u << 7)
#define USART_CR1_UE (1u << 13)

/* --- timer 2, 32 bits, RM0090 section 18.4 --- */
#define TIM2_CR1 REGISTER(0x40000000u)
#define TIM_CR1_ENABLE (1u << 0)
#define TIM2_EGR REGISTER(0x40000014u)
#define TIM_EGR_UPDATE (1u << 0)
#define TIM2_CNT REGISTER(0x40000024u)
#define TIM2_PSC REGISTER(0x40000028u)

/* --- independent watchdog, RM0090 section 21.4 --- */
#define IWDG_KR REGISTER(0x40003000u)
#define IWDG_KR_START 0xCCCCu
#define IWDG_KR_UNLOCK 0x5555u
#define IWDG_KR_RELOAD 0xAAAAu
#define IWDG_PR REGISTER(0x40003004u)
#define IWDG_PR_BY_4 0u
#define IWDG_RLR REGISTER(0x40003008u)

/* --- unique device number, RM0090 section 39.1 --- */
#define UNIQUE_ID_BYTES ((const volatile uint8_t *)0x1FFF7A10u)

#endif
