#include "tick.h"

#include <math.h>
#include <stddef.h>

typedef double real;
#include "drive_equations.h"

void read_motors(const motors_t *motors, const double *position, const double *speed, row_t *row)
{
    for (int i = 0; i < MOTORS; i++) {
        row->position_rad[i] = position[motors->position_at[i]] * motors->direction[i];
        row->velocity_rad_s[i] = speed[motors->speed_at[i]] * motors->direction[i];
    }
}

int is_beyond(const terrain_t *terrain, const double place_m[2])
{
    for (int axis = 0; axis < 2; axis++) {
        if (fabs(place_m[axis] - terrain->middle_m[axis]) >= terrain->reach_m) {
            return 1;
        }
    }
    return 0;
}

double friction_scale(const terrain_t *terrain, double x_m, double y_m)
{
    double ahead_m = terrain->cosine * x_m + terrain->sine * y_m;
    double left_m = terrain->cosine * y_m - terrain->sine * x_m;
    for (int64_t k = 0; k < terrain->patch_count; k++) {
        if (fabs(ahead_m - terrain->patch_m[k][0]) <= terrain->half_m &&
            fabs(left_m - terrain->patch_m[k][1]) <= terrain->half_m) {
            return terrain->scale;
        }
    }
    return 1.0;
}

static double dot(const double *a, const double *b)
{
    double sum = 0.0;
    for (int i = 0; i < MOTORS; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* Angles and speeds as the motor controllers see them. */
static void seen(const plant_t *plant, double position_rad[MOTORS], double velocity_rad_s[MOTORS])
{
    double ticks = plant->drives.pd_latency_s / TICK_S;
    ticks = fmin(ticks, fmin((double)(plant->count - 1), (double)(plant->length - 1)));
    int64_t whole = (int64_t)ticks;
    double part = ticks - (double)whole;
    const row_t *younger = &plant->history[plant->newest + plant->length - whole];
    const row_t *older = younger - 1;
    for (int i = 0; i < MOTORS; i++) {
        double position = younger->reading_rad[i], velocity = younger->velocity_rad_s[i];
        if (part >= 1e-9) {
            position += part * (older->reading_rad[i] - position);
            velocity += part * (older->velocity_rad_s[i] - velocity);
        }
        position_rad[i] = position + plant->drives.encoder_offset_rad[i];
        velocity_rad_s[i] = velocity;
    }
}

/* The battery under the load of the motors that are on: `Actuators._loaded_v`. */
static double loaded_v(const plant_t *plant, const double duty[MOTORS], const double emf_v[MOTORS])
{
    const drives_t *drives = &plant->drives;
    double on[MOTORS];
    for (int i = 0; i < MOTORS; i++) {
        on[i] = duty[i] * plant->enabled[i];
    }
    double ratio = drives->battery_resistance_ohm / drives->winding_resistance_ohm;
    double loaded = drives->battery_v + ratio * dot(on, emf_v);
    return fmax(0.0, loaded / (1.0 + ratio * dot(on, on)));
}

/* The torques of motors under duties, and the battery under their load: `Actuators.torque`. */
static void drive(plant_t *plant, const double duty[MOTORS], int protected, double torque_nm[MOTORS])
{
    const drives_t *drives = &plant->drives;
    const double *speed = plant->row.velocity_rad_s;
    double emf_v[MOTORS];
    for (int i = 0; i < MOTORS; i++) {
        emf_v[i] = drives->torque_constant_nm_per_a * speed[i];
    }
    double battery_v = drives->battery_v;
    if (drives->battery_resistance_ohm > 0.0) {
        battery_v = loaded_v(plant, duty, emf_v);
    }
    plant->row.battery_v = battery_v;
    for (int i = 0; i < MOTORS; i++) {
        double current_a = drive_current(duty[i], battery_v, emf_v[i], drives->voltage_clip_v,
                                         drives->winding_resistance_ohm);
        double size = drive_curve(fabs(current_a), drives->curve_a, drives->curve_nm,
                                  (int)drives->curve_points);
        double torque = copysign(size * drives->strength[i], current_a);
        if (isnan(current_a)) { /* a diverged plant must not look like a strong motor */
            torque = current_a;
        }
        if (protected) { /* off for good after too much torque for too long */
            plant->hot_s[i] += TICK_S;
            plant->hot_s[i] *= fabs(torque) > drives->overheat_torque_nm ? 1.0 : 0.0;
            plant->enabled[i] &= plant->hot_s[i] <= drives->overheat_time_s;
            torque *= plant->enabled[i];
            current_a *= plant->enabled[i];
        }
        plant->heat_j[i] += TICK_S * (current_a * current_a * drives->winding_resistance_ohm);
        if (drives->viscous_nm_s_per_rad > 0.0) {
            torque -= drives->viscous_nm_s_per_rad * speed[i];
        }
        torque_nm[i] = torque;
    }
}

/* The duties of the motor controllers, by what they see. */
static void follow(const plant_t *plant, double duty[MOTORS])
{
    double position[MOTORS], velocity[MOTORS];
    seen(plant, position, velocity);
    for (int i = 0; i < MOTORS; i++) {
        double error = plant->target_rad[i] - position[i];
        duty[i] = drive_clip(drive_duty(plant->kp, error, plant->kd, velocity[i]), -1.0, 1.0);
    }
}

static void record(plant_t *plant, const double torque_nm[MOTORS])
{
    row_t *row = &plant->row;
    plant->engine.measure(plant->engine.engine, row);
    double slack = 0.5 * plant->drives.encoder_play_rad;
    for (int i = 0; i < MOTORS; i++) {
        double position = row->position_rad[i];
        row->torque_nm[i] = torque_nm[i];
        row->reading_rad[i] = drive_clip(row->reading_rad[i], position - slack, position + slack);
        if (isnan(position)) {
            row->reading_rad[i] = position;
        }
    }
    plant->newest = (plant->newest + 1) % plant->length;
    plant->history[plant->newest] = plant->history[plant->newest + plant->length] = *row;
    plant->count++;
}

/* One tick under duties; NULL opens the bridges. Returns whether it could be. */
static int tick(plant_t *plant, const double *duty, int protected, const double *push_n)
{
    if (push_n && isnan(push_n[0])) {
        push_n = NULL;
    }
    plant_t before = *plant;
    double torque_nm[MOTORS] = {0}, power_w = 0.0;
    if (duty) {
        drive(plant, duty, protected, torque_nm);
    } else {
        plant->row.battery_v = plant->drives.battery_v;
    }
    for (int i = 0; i < MOTORS; i++) {
        power_w += fabs(torque_nm[i] * plant->row.velocity_rad_s[i]);
    }
    plant->energy_j += TICK_S * power_w;
    if (plant->engine.step(plant->engine.engine, torque_nm, push_n)) {
        *plant = before;
        return 0;
    }
    record(plant, torque_nm);
    return 1;
}

int64_t plant_bytes(void)
{
    return sizeof(plant_t);
}

int64_t plant_advance(plant_t *plant, int64_t ticks, const double *push_n)
{
    for (int64_t at = 0; at < ticks; at++) {
        double duty[MOTORS];
        const double *driven = NULL;
        if (plant->kp != 0.0 || plant->kd != 0.0) {
            follow(plant, duty);
            driven = duty;
        }
        if (!tick(plant, driven, 1, push_n ? push_n + 3 * at : NULL)) {
            return at;
        }
    }
    return ticks;
}

int64_t plant_drive(plant_t *plant, const double *duty, const double *push_n)
{
    return tick(plant, duty, 0, push_n);
}
