#include "drive_law.h"

#include <math.h>

typedef float real;
#include "drive_equations.h"

/* The duty nearest to the wanted one that keeps the current within its limit. Back-EMF may ask for
 * more than a bridge can do: the bound on the duty is the last word.
 */
static float limit_current(float duty, float speed_rad_s, float battery_v)
{
    if (battery_v <= 0.0f) {
        return duty; /* nothing drives a current, whatever the duty */
    }
    float back_emf_v = MOTOR_TORQUE_CONSTANT * speed_rad_s;
    float span_v = LIMIT_MAX_CURRENT_A * MOTOR_RESISTANCE_OHM;
    float drive_v = drive_clip(duty * battery_v, back_emf_v - span_v, back_emf_v + span_v);
    return drive_clip(drive_v / battery_v, -LIMIT_MAX_DUTY, LIMIT_MAX_DUTY);
}

float motor_torque(float current_a)
{
    float size_nm = drive_curve(fabsf(current_a), MOTOR_TABLE_A, MOTOR_TABLE_NM, MOTOR_TABLE_SIZE);
    return copysignf(size_nm, current_a);
}

void drive_law(const setpoint_t *setpoint, const sensors_t *sensors, const supply_t *supply,
               load_t *load)
{
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        float speed = sensors->motor_velocity_rad_s[i];
        float error = setpoint->target_rad[i] - sensors->motor_position_rad[i];
        float duty = drive_duty(setpoint->kp, error, setpoint->kd, speed) * supply->duty_scale;
        duty = drive_clip(duty, -supply->duty_bound, supply->duty_bound);
        duty = limit_current(duty, speed, supply->battery_v);

        load->duty[i] = duty;
        load->current_a[i] =
            drive_current(duty, supply->battery_v, MOTOR_TORQUE_CONSTANT * speed,
                          MOTOR_VOLTAGE_CLIP_V, MOTOR_RESISTANCE_OHM);
        load->torque_nm[i] = motor_torque(load->current_a[i]);
    }
}
