/* The robot of the bench port: a plant that takes drive frames and answers with sensors frames.
 *
 * On silicon it is at the other end of USART2. QEMU moves one byte per turn of its main loop, a
 * tenth of what that line carries, so under QEMU the same frames pass through two files instead.
 */
#ifndef PLANT_LINE_H
#define PLANT_LINE_H

/* Connect, open the bridges, and wait for the first reading, but not for ever. */
void plant_line_start(void);

/* Open the bridges, whatever state the firmware is in. For fault handlers: waits, uses no interrupt
 * and little memory. */
void plant_line_release(void);

void usart2_handler(void);

#endif
