#include "modes.h"

#include "robot.h"

void modes_start(modes_t *modes)
{
    *modes = (modes_t){.mode = MODE_DISARMED};
}

uint16_t modes_faults(const modes_t *modes)
{
    return modes->latched | modes->present;
}

static void enter(modes_t *modes, uint8_t mode)
{
    if (modes->mode != mode) {
        modes->mode = mode;
        modes->ms = 0;
    }
}

/* Damp on a fault until a host clears it. */
static void stop(modes_t *modes, uint16_t faults)
{
    modes->latched |= faults;
    enter(modes, MODE_DAMPING);
}

void modes_tick(modes_t *modes, uint16_t present)
{
    modes->present = present;
    modes->ms++;
    bool may_move = modes->mode == MODE_READY || modes->mode == MODE_ACTIVE ||
                    modes->mode == MODE_DAMPING;
    if (may_move && present != 0) {
        stop(modes, present);
    }
    if (may_move && (present & FAULT_ENCODER) != 0) {
        enter(modes, MODE_FAULT);
    }
    if (modes->mode == MODE_READY && modes->ms >= LIMIT_READY_TIMEOUT_MS) {
        enter(modes, MODE_DISARMED);
    }
    if (modes->mode == MODE_DAMPING && modes->latched == 0 && modes->ms >= LIMIT_DAMPING_MS) {
        enter(modes, MODE_DISARMED);
    }
}

static uint8_t arm(modes_t *modes, bool introduced)
{
    if (!introduced) {
        return RESULT_NOT_INTRODUCED;
    }
    switch (modes->mode) {
    case MODE_DISARMED:
        if (modes_faults(modes) != 0) {
            return RESULT_FAULTY;
        }
        enter(modes, MODE_READY);
        return RESULT_DONE;
    case MODE_READY:
        return RESULT_DONE;
    default:
        return modes->latched != 0 ? RESULT_FAULTY : RESULT_WRONG_MODE;
    }
}

void modes_disarm(modes_t *modes)
{
    if (modes->mode == MODE_READY) {
        enter(modes, MODE_DISARMED);
    }
    if (modes->mode == MODE_ACTIVE) {
        enter(modes, MODE_DAMPING);
    }
}

static uint8_t clear_fault(modes_t *modes)
{
    if (modes->mode == MODE_READY || modes->mode == MODE_ACTIVE) {
        return RESULT_WRONG_MODE;
    }
    if (modes->latched == 0) {
        return RESULT_DONE; /* a gentle stop in progress goes on */
    }
    if ((modes->latched & modes->present) != 0) {
        return RESULT_FAULTY;
    }
    modes->latched = 0;
    enter(modes, MODE_DISARMED);
    return RESULT_DONE;
}

static void emergency_stop(modes_t *modes)
{
    uint8_t before = modes->mode;
    stop(modes, FAULT_EMERGENCY_STOP);
    if (before == MODE_FAULT) {
        enter(modes, MODE_FAULT); /* no encoders to damp with */
    }
}

uint8_t modes_request(modes_t *modes, uint8_t action, bool introduced)
{
    switch (action) {
    case ACTION_ARM:
        return arm(modes, introduced);
    case ACTION_DISARM:
        modes_disarm(modes);
        return RESULT_DONE;
    case ACTION_CLEAR_FAULT:
        return clear_fault(modes);
    case ACTION_EMERGENCY_STOP:
        emergency_stop(modes);
        return RESULT_DONE;
    default:
        return RESULT_UNKNOWN_ACTION;
    }
}

bool modes_accept_command(modes_t *modes)
{
    if (modes->mode == MODE_READY) {
        enter(modes, MODE_ACTIVE);
    }
    return modes->mode == MODE_ACTIVE;
}
