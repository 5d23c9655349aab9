/* One tick of the simulated robot, 1 ms: motor controllers, drives and memory around a physics
 * engine. `sim/plant/plant.py` does the same in Python; a test holds the two equal bit for bit.
 */
#ifndef TICK_H
#define TICK_H

#include <stdint.h>

enum { MOTORS = 8, BASE = 13, CURVE_POINTS = 16, MOST_PATCHES = 9 };

/* Where the numbers of the base begin. */
enum { PLACE = 0, TURN = 3, VELOCITY = 7, RATE = 10 };

static const double TICK_S = 0.001;

/* A row of the history. */
typedef struct {
    double position_rad[MOTORS];
    double velocity_rad_s[MOTORS];
    double torque_nm[MOTORS];
    double base[BASE]; /* of the body's link: place, quaternion (x, y, z, w), velocity, rate */
    double battery_v;
    double reading_rad[MOTORS]; /* of the encoders, without their offsets */
} row_t;

/* Where an engine has the motors in its vectors of positions and speeds, and which way they turn. */
typedef struct {
    int64_t position_at[MOTORS];
    int64_t speed_at[MOTORS];
    double direction[MOTORS];
} motors_t;

/* The motors, out of an engine's vectors. */
void read_motors(const motors_t *motors, const double *position, const double *speed, row_t *row);

/* What lies about the robot. */
typedef struct {
    double middle_m[2]; /* of what lies there */
    double reach_m;     /* how far from the middle along x and y it lies */
    /* Slippery patches: squares along a heading. Their middles are ahead and to the left. */
    double cosine, sine;
    double half_m;
    double scale; /* factor on the friction in a patch */
    int64_t patch_count;
    double patch_m[MOST_PATCHES][2];
} terrain_t;

/* Whether a place is beyond what lies there. */
int is_beyond(const terrain_t *terrain, const double place_m[2]);

/* The factor on the friction at a place: `Patches.scale_at`. */
double friction_scale(const terrain_t *terrain, double x_m, double y_m);

/* What a physics engine does in a tick. Returns 0, or another number if Python has to do something
 * before the tick; then nothing has happened.
 */
typedef struct {
    int (*step)(void *engine, const double torque_nm[MOTORS], const double *push_n);
    void (*measure)(void *engine, row_t *row);
    void *engine;
} engine_t;

/* Of an episode. */
typedef struct {
    double pd_latency_s;
    double encoder_offset_rad[MOTORS];
    double encoder_play_rad;
    double strength[MOTORS];
    double battery_v;
    double battery_resistance_ohm;
    double winding_resistance_ohm;
    double torque_constant_nm_per_a;
    double viscous_nm_s_per_rad;
    double voltage_clip_v;
    double overheat_torque_nm;
    double overheat_time_s;
    double curve_a[CURVE_POINTS];
    double curve_nm[CURVE_POINTS];
    int64_t curve_points;
} drives_t;

typedef struct {
    engine_t engine;
    drives_t drives;
    double target_rad[MOTORS];
    double kp; /* both gains 0: bridges open */
    double kd;
    row_t row; /* the newest */
    double hot_s[MOTORS];
    uint8_t enabled[MOTORS]; /* 1 or 0 */
    double heat_j[MOTORS]; /* of the windings */
    double energy_j;
    row_t *history; /* twice `length` rows: each is written twice, so that no read wraps around */
    int64_t length;
    int64_t newest;
    int64_t count;
} plant_t;

#pragma GCC visibility push(default)
/* The size of a plant: Python declares the same structure. */
int64_t plant_bytes(void);

/* Lets ticks pass; returns how many did. `push_n` has three numbers for each tick, NaN for none;
 * NULL if there is none at all. Stops before a tick for which the engine needs Python.
 */
int64_t plant_advance(plant_t *plant, int64_t ticks, const double *push_n);

/* One tick under the duties of a controller elsewhere, which protects its motors; NULL opens the
 * bridges. `push_n` as above, of one tick. Returns 1, or 0 where the engine needs Python first.
 */
int64_t plant_drive(plant_t *plant, const double *duty, const double *push_n);
#pragma GCC visibility pop

#endif
