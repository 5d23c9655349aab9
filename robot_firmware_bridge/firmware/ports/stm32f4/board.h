/* What start-up code and interrupt vectors need of the board. */
#ifndef BOARD_H
#define BOARD_H

/* Open the bridges as far as this port can, then reset. Does not return. */
void board_fault(void);

void usart1_handler(void);

#endif
