#include "session.h"

#include "robot.h"

/* Part of the line that states may take. */
#define MAX_LINE_LOAD_PERCENT 90u
/* Start bit, eight data bits, stop bit. */
#define BITS_PER_BYTE 10u

void session_start(session_t *session)
{
    *session = (session_t){.introduced = false};
}

/* Shortest time between two states that leaves the line room; whole, at most what fits a byte. */
static uint32_t least_state_interval_ms(uint32_t baud)
{
    uint64_t usable_bits = (uint64_t)baud * MAX_LINE_LOAD_PERCENT / 100u;
    uint64_t bits = STATE_WIRE_BYTES * BITS_PER_BYTE * UINT64_C(1000);
    if (bits > usable_bits * UINT8_MAX) {
        return UINT8_MAX;
    }
    return (uint32_t)((bits + usable_bits - 1) / usable_bits);
}

void session_hello(session_t *session, const hello_message_t *hello, uint32_t baud)
{
    uint32_t least_ms = least_state_interval_ms(baud);
    uint32_t asked_ms = hello->state_interval_ms;
    session->introduced =
        hello->protocol_hash == PROTOCOL_HASH && hello->robot_hash == ROBOT_HASH;
    session->state_interval_ms = asked_ms == 0 ? 0 : asked_ms < least_ms ? least_ms : asked_ms;
    session->state_ms = session->state_interval_ms; /* the first one comes at once */
    session->commanded = false;
}

bool session_is_new(session_t *session, uint16_t sequence)
{
    /* Distance on the circle of 16 bits: 1 is the next one, 0x8000 and more lie behind. */
    uint16_t ahead = (uint16_t)(sequence - session->command_sequence);
    if (session->commanded) {
        if (ahead == 0 || ahead > INT16_MAX) {
            return false;
        }
        session->commands_lost = (uint16_t)(session->commands_lost + ahead - 1);
    }
    session->commanded = true;
    session->command_sequence = sequence;
    return true;
}

bool session_state_due(session_t *session)
{
    if (!session->introduced || session->state_interval_ms == 0) {
        return false;
    }
    if (++session->state_ms < session->state_interval_ms) {
        return false;
    }
    session->state_ms = 0;
    return true;
}
