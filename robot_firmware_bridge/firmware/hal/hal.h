/* What the firmware needs of a board. A port is one implementation of this header.
 *
 * All of these are called from the main loop, never from an interrupt, and none of them waits. Angles
 * are in motor space: a port for real motors applies ROBOT_MOTOR_DIRECTION and its encoder zeros.
 */
#ifndef HAL_H
#define HAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "types.h"

/* Free-running clock, microseconds, wraps. The core trusts neither this clock nor the ticks alone:
 * what protects goes by the one that shows more time.
 */
uint32_t hal_micros(void);

/* True once for every millisecond that has begun; false again until the next. */
bool hal_tick_due(void);

/* Sleep until an interrupt: a tick, or a byte from the host. May return at once. */
void hal_idle(void);

/* Tell the hardware watchdog that the control tick ran. Without it the board resets itself: of all
 * that can fail, ticks that stop are the one thing that the core cannot see.
 */
void hal_alive(void);

/* Bytes that arrived from the host; returns how many were written to `to`. */
size_t hal_host_read(uint8_t *to, size_t capacity);

/* Queue bytes for the host, all or none: false if there is no room for all. */
bool hal_host_write(const uint8_t *from, size_t size);

/* Bits per second of the host's line. */
uint32_t hal_host_baud(void);

/* The newest reading of every sensor. */
void hal_sense(sensors_t *sensors);

/* Set the bridges until the next call: duty, or open. */
void hal_drive(const drive_t *drive);

/* How often this board has started; differs from one start to the next. */
uint16_t hal_boot_count(void);

/* The chip's unique number. */
void hal_board_id(uint8_t id[12]);

#endif
