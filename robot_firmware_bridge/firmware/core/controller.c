#include "controller.h"

#include <math.h>
#include <string.h>

/* Brakes every motor, wherever it is. A duty of 0 shorts the windings, and they brake by themselves.
 * A speed of an encoder adds to that only where the last command trusted it: through a wrong plug
 * or sign it would drive the motor.
 */
static setpoint_t damping(const setpoint_t *commanded)
{
    return (setpoint_t){.kp = 0.0f, .kd = commanded->kd > 0.0f ? LIMIT_DAMPING_KD : 0.0f};
}

void controller_start(controller_t *controller)
{
    memset(controller, 0, sizeof *controller);
    modes_start(&controller->modes);
    protection_start(&controller->protection);
}

bool controller_command(controller_t *controller, const command_message_t *command, uint32_t now_us)
{
    if (!modes_accept_command(&controller->modes)) {
        return false;
    }
    setpoint_t *setpoint = &controller->setpoint;
    setpoint->kp = fminf(command->kp, LIMIT_MAX_KP);
    setpoint->kd = fminf(command->kd, LIMIT_MAX_KD);
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        setpoint->target_rad[i] =
            fminf(fmaxf(command->target_rad[i], ROBOT_MOTOR_MIN_RAD), ROBOT_MOTOR_MAX_RAD);
    }
    watchdog_feed(&controller->watchdog, command->valid_ms, now_us);
    return true;
}

/* Faults that are there now; a command that has run out is one. */
static uint16_t check(controller_t *controller, const sensors_t *sensors, uint32_t now_us)
{
    uint32_t ms = elapsed_ms(&controller->elapsed, now_us);
    uint16_t faults = protection_check(&controller->protection, sensors, &controller->load, ms);
    if (controller->modes.mode == MODE_ACTIVE && watchdog_expired(&controller->watchdog, now_us)) {
        faults |= FAULT_COMMAND_TIMEOUT;
    }
    return faults;
}

static float duty_scale(const controller_t *controller)
{
    float battery_v = fmaxf(controller->protection.battery_v, LIMIT_UNDERVOLTAGE_V);
    return controller->compensate_battery ? MOTOR_NOMINAL_V / battery_v : 1.0f;
}

/* Grows from nothing to all within LIMIT_SOFT_START_MS of the first tick with torque: gains that
 * come back after a while of none start as softly as the first ones.
 */
static float soft_start_bound(const controller_t *controller)
{
    float part = (float)controller->driven_ms / (float)LIMIT_SOFT_START_MS;
    return LIMIT_MAX_DUTY * fminf(part, 1.0f);
}

/* The host asks for torque. A duty of zero would brake; no gains mean open bridges. */
static bool wants_torque(const setpoint_t *setpoint)
{
    return setpoint->kp > 0.0f || setpoint->kd > 0.0f;
}

/* What the bridges do in this mode: true and a load, or false for open. */
static bool control(controller_t *controller, const sensors_t *sensors, load_t *load)
{
    setpoint_t setpoint = controller->setpoint;
    bool commanded = controller->modes.mode == MODE_ACTIVE && wants_torque(&setpoint);
    controller->driven_ms = commanded ? controller->driven_ms + 1 : 0;
    supply_t supply = {controller->protection.battery_now_v, 1.0f, LIMIT_MAX_DUTY};
    switch (controller->modes.mode) {
    case MODE_ACTIVE:
        if (!commanded) {
            return false;
        }
        supply.duty_scale = duty_scale(controller);
        supply.duty_bound = soft_start_bound(controller);
        break;
    case MODE_DAMPING:
        setpoint = damping(&controller->setpoint);
        break;
    default: /* what comes next is another arming: nothing was commanded in it yet */
        controller->setpoint = (setpoint_t){.kp = 0.0f, .kd = 0.0f};
        return false;
    }
    drive_law(&setpoint, sensors, &supply, load);
    return true;
}

void controller_tick(controller_t *controller, const sensors_t *sensors, uint32_t now_us,
                     drive_t *drive)
{
    modes_tick(&controller->modes, check(controller, sensors, now_us));

    load_t load = {{0}, {0}, {0}};
    drive->enabled = control(controller, sensors, &load);
    memcpy(drive->duty, load.duty, sizeof drive->duty);
    controller->load = load;
}
