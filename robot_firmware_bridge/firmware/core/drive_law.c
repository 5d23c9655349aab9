#include "drive_law.h"

#include <math.h>

static float clip(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

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
    float drive_v = clip(duty * battery_v, back_emf_v - span_v, back_emf_v + span_v);
    return clip(drive_v / battery_v, -LIMIT_MAX_DUTY, LIMIT_MAX_DUTY);
}

static float motor_current(float duty, float speed_rad_s, float battery_v)
{
    float voltage = duty * battery_v - MOTOR_TORQUE_CONSTANT * speed_rad_s;
    return clip(voltage, -MOTOR_VOLTAGE_CLIP_V, MOTOR_VOLTAGE_CLIP_V) / MOTOR_RESISTANCE_OHM;
}

float motor_torque(float current_a)
{
    float size_a = fabsf(current_a);
    float torque_nm = MOTOR_TABLE_NM[MOTOR_TABLE_SIZE - 1];
    for (int i = 1; i < MOTOR_TABLE_SIZE; i++) {
        if (size_a < MOTOR_TABLE_A[i]) {
            float step_a = MOTOR_TABLE_A[i] - MOTOR_TABLE_A[i - 1];
            float part = (size_a - MOTOR_TABLE_A[i - 1]) / step_a;
            torque_nm = MOTOR_TABLE_NM[i - 1] + part * (MOTOR_TABLE_NM[i] - MOTOR_TABLE_NM[i - 1]);
            break;
        }
    }
    return copysignf(torque_nm, current_a);
}

void drive_law(const setpoint_t *setpoint, const sensors_t *sensors, const supply_t *supply,
               load_t *load)
{
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        float speed = sensors->motor_velocity_rad_s[i];
        float error = setpoint->target_rad[i] - sensors->motor_position_rad[i];
        float duty = (setpoint->kp * error - setpoint->kd * speed) * supply->duty_scale;
        duty = clip(duty, -supply->duty_bound, supply->duty_bound);
        duty = limit_current(duty, speed, supply->battery_v);

        load->duty[i] = duty;
        load->current_a[i] = motor_current(duty, speed, supply->battery_v);
        load->torque_nm[i] = motor_torque(load->current_a[i]);
    }
}
