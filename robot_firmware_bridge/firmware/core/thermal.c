#include "thermal.h"

#include <math.h>

/* The nodes are stepped every 100 ms. At 1 kHz the change per step would drown in the rounding of a
 * float32 temperature (1 W warms a housing by 7e-6 K in 1 ms; at 80 degC floats are 8e-6 K apart).
 */
#define STEP_MS 100u
#define MS_S 0.001f

/* Colder than any place a robot works in: an open thermistor, and no reading. */
#define BROKEN_SENSOR_C (-40.0f)

void thermal_start(thermal_t *thermal)
{
    *thermal = (thermal_t){.ms = 0};
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        thermal->winding_temperature_c[i] = LIMIT_AMBIENT_C;
        thermal->housing_temperature_c[i] = LIMIT_AMBIENT_C;
    }
}

static bool is_reading(float measured_c)
{
    return isfinite(measured_c) && measured_c > BROKEN_SENSOR_C;
}

static void step_motor(thermal_t *thermal, int i, float measured_c, float step_s)
{
    float winding_c = thermal->winding_temperature_c[i];
    float housing_c = thermal->housing_temperature_c[i];
    float inner_w = (winding_c - housing_c) / LIMIT_WINDING_K_PER_W;
    float outer_w = (housing_c - LIMIT_AMBIENT_C) / LIMIT_HOUSING_K_PER_W;
    winding_c += (thermal->heat_j[i] - step_s * inner_w) / LIMIT_WINDING_J_PER_K;
    housing_c += step_s * (inner_w - outer_w) / LIMIT_HOUSING_J_PER_K;

    thermal->heat_j[i] = 0.0f;
    thermal->winding_temperature_c[i] = winding_c;
    thermal->housing_temperature_c[i] = is_reading(measured_c) ? measured_c : housing_c;
}

void thermal_tick(thermal_t *thermal, const float current_a[ROBOT_MOTORS],
                  const float housing_temperature_c[ROBOT_MOTORS], uint32_t ms)
{
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        float power_w = current_a[i] * current_a[i] * MOTOR_RESISTANCE_OHM;
        thermal->heat_j[i] += power_w * (MS_S * (float)ms);
    }
    thermal->ms += ms;
    if (thermal->ms < STEP_MS) {
        return;
    }
    float step_s = MS_S * (float)thermal->ms;
    thermal->ms = 0;
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        step_motor(thermal, i, housing_temperature_c[i], step_s);
    }
}

bool thermal_too_hot(const thermal_t *thermal)
{
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        if (thermal->winding_temperature_c[i] > LIMIT_MAX_WINDING_C ||
            thermal->housing_temperature_c[i] > LIMIT_MAX_HOUSING_C) {
            return true;
        }
    }
    return false;
}
