/* The whole firmware over hal.h. A port's main is: hardware up, firmware_start(), and then for ever
 * firmware_poll(), hal_idle().
 */
#ifndef FIRMWARE_H
#define FIRMWARE_H

/* As sent to hosts; ASCII, 16 bytes at most. */
#define FIRMWARE_ID "minitaur 1.0"

void firmware_start(void);

/* Take bytes from the host; if a tick is due, sense, protect, control, drive and send a state. */
void firmware_poll(void);

#endif
