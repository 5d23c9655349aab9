/* The conversation with a host: who it is, what it is sent and when, which commands are new. */
#ifndef SESSION_H
#define SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

typedef struct {
    bool introduced;            /* host and board agree on protocol and robot */
    uint32_t state_interval_ms; /* 0: silence */
    uint32_t state_ms;          /* ticks since the last state */
    uint16_t state_sequence;
    bool commanded;             /* there was a command since the hello */
    uint16_t command_sequence;  /* of the newest one */
    uint16_t command_echo;      /* of the last one that was obeyed */
    uint16_t commands_lost;
} session_t;

void session_start(session_t *session);

/* A host introduces itself, over a line of `baud` bits per second. */
void session_hello(session_t *session, const hello_message_t *hello, uint32_t baud);

/* Whether a command of this sequence is newer than all before it since the hello. */
bool session_is_new(session_t *session, uint16_t sequence);

/* Once every tick: whether a state is due. */
bool session_state_due(session_t *session);

#endif
