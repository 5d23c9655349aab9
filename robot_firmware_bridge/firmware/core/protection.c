#include "protection.h"

#include <math.h>
#include <string.h>

#include "protocol.h"

/* A motor that may move so far in a tick of 1 ms is never faster than this. */
#define MAX_SPEED_RAD_S (LIMIT_ENCODER_JUMP_RAD * 1000.0f)

void protection_start(protection_t *protection)
{
    memset(protection, 0, sizeof *protection);
    thermal_start(&protection->thermal);
}

/* A broken sensor reads as an empty battery. */
static float reading_v(const sensors_t *sensors)
{
    float battery_v = sensors->battery_v;
    return isfinite(battery_v) && battery_v > 0.0f ? battery_v : 0.0f;
}

/* Take over what the filters and comparisons have to start from. */
static void first_reading(protection_t *protection, const sensors_t *sensors)
{
    memcpy(protection->last_position_rad, sensors->motor_position_rad,
           sizeof sensors->motor_position_rad);
    protection->battery_v = reading_v(sensors);
    protection->started = true;
}

/* Written so that a NaN, now or a tick ago, fails the comparison. */
static uint16_t check_encoders(protection_t *protection, const sensors_t *sensors)
{
    bool believable = true;
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        float moved = fabsf(sensors->motor_position_rad[i] - protection->last_position_rad[i]);
        believable = believable && moved <= LIMIT_ENCODER_JUMP_RAD &&
                     fabsf(sensors->motor_velocity_rad_s[i]) <= MAX_SPEED_RAD_S;
        protection->last_position_rad[i] = sensors->motor_position_rad[i];
    }
    return believable ? 0 : FAULT_ENCODER;
}

/* A living IMU is never still to the last bit: it has noise. */
static uint16_t check_imu(protection_t *protection, const sensors_t *sensors, uint32_t ms)
{
    float imu[6];
    memcpy(imu, sensors->rpy_rad, sizeof sensors->rpy_rad);
    memcpy(imu + 3, sensors->angular_rate_rad_s, sizeof sensors->angular_rate_rad_s);

    if (memcmp(imu, protection->last_imu, sizeof imu) != 0) {
        memcpy(protection->last_imu, imu, sizeof imu);
        protection->imu_frozen_ms = 0;
    } else if (protection->imu_frozen_ms < LIMIT_IMU_FROZEN_MS) {
        protection->imu_frozen_ms += ms;
    }

    bool finite = true;
    for (int i = 0; i < 6; i++) {
        finite = finite && isfinite(imu[i]);
    }
    return finite && protection->imu_frozen_ms < LIMIT_IMU_FROZEN_MS ? 0 : FAULT_IMU;
}

static uint16_t check_battery(protection_t *protection, const sensors_t *sensors, uint32_t ms)
{
    protection->battery_now_v = reading_v(sensors);
    float change_v = protection->battery_now_v - protection->battery_v;
    protection->battery_v += change_v * (float)ms / (float)LIMIT_BATTERY_FILTER_MS;
    return protection->battery_v < LIMIT_UNDERVOLTAGE_V ? FAULT_UNDERVOLTAGE : 0;
}

static uint16_t check_heat(protection_t *protection, const sensors_t *sensors, const load_t *load,
                           uint32_t ms)
{
    thermal_tick(&protection->thermal, load->current_a, sensors->housing_temperature_c, ms);
    bool hot = thermal_too_hot(&protection->thermal);
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        bool overload = fabsf(load->torque_nm[i]) > LIMIT_OVERLOAD_TORQUE_NM;
        protection->overload_ms[i] = overload ? protection->overload_ms[i] + ms : 0;
        hot = hot || protection->overload_ms[i] > LIMIT_OVERLOAD_MS;
    }
    return hot ? FAULT_OVERHEAT : 0;
}

static uint16_t check_motors(protection_t *protection, const sensors_t *sensors, const load_t *load,
                             uint32_t ms)
{
    uint16_t faults = 0;
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        float change_a = fabsf(load->current_a[i]) - protection->mean_current_a[i];
        protection->mean_current_a[i] += change_a * (float)ms / (float)LIMIT_MEAN_CURRENT_MS;
        if (protection->mean_current_a[i] > LIMIT_MEAN_CURRENT_A) {
            faults |= FAULT_OVERCURRENT;
        }
        bool stalled = fabsf(load->duty[i]) > LIMIT_STALL_DUTY &&
                       fabsf(sensors->motor_velocity_rad_s[i]) < LIMIT_STALL_SPEED_RAD_S;
        protection->stall_ms[i] = stalled ? protection->stall_ms[i] + ms : 0;
        if (protection->stall_ms[i] >= LIMIT_STALL_MS) {
            faults |= FAULT_STALL;
        }
    }
    return faults;
}

uint16_t protection_check(protection_t *protection, const sensors_t *sensors, const load_t *load,
                          uint32_t ms)
{
    if (!protection->started) {
        first_reading(protection, sensors);
    }
    return (uint16_t)(check_encoders(protection, sensors) | check_imu(protection, sensors, ms) |
                      check_battery(protection, sensors, ms) |
                      check_heat(protection, sensors, load, ms) |
                      check_motors(protection, sensors, load, ms));
}
