/* The robot in MuJoCo: torques and pushes in, motion out. `sim/engines/mujoco.py` does the same.
 *
 * Python builds the model and passes the addresses of MuJoCo's own memory, so nothing of MuJoCo's
 * headers is needed here.
 */
#include <math.h>
#include <string.h>

#include "quaternion.h"
#include "tick.h"

enum { BODY_SPEEDS = 6 }; /* before those of the joints */

/* The numbers of a pair that can touch, of the lower leg's shape and of its body. */
typedef struct {
    int64_t pair, geom, body;
} pair_t;

typedef struct {
    void (*mj_step)(const void *model, void *data);
    const void *model;
    void *data;
    const double *position;
    double *speed;
    double *torque_nm;
    double *push_n;
    motors_t motors;
    terrain_t terrain;
    double max_joint_rad_s;
    /* Of the lower legs and the ground. */
    int64_t pair_count;
    const pair_t *pairs;
    const double *geom_m;
    const double *body_m;
    double *pair_friction; /* five numbers for each pair, along the surface the first two */
    double friction;       /* outside of patches */
} mujoco_t;

#pragma GCC visibility push(default)
int64_t mujoco_bytes(void);
void mujoco_measure(void *engine, row_t *row);
int mujoco_step(void *engine, const double torque_nm[MOTORS], const double *push_n);
#pragma GCC visibility pop

/* Python declares the same structure. */
int64_t mujoco_bytes(void)
{
    return sizeof(mujoco_t);
}

void mujoco_measure(void *engine, row_t *row)
{
    const mujoco_t *mujoco = engine;
    read_motors(&mujoco->motors, mujoco->position, mujoco->speed, row);
    /* A free joint turns about its body's own axes, and its quaternion begins with w. */
    const double *place = mujoco->position, *speed = mujoco->speed;
    double *base = row->base;
    memcpy(base + PLACE, place, 3 * sizeof(double));
    memcpy(base + TURN, place + 4, 3 * sizeof(double));
    base[TURN + 3] = place[3];
    normalize(base + TURN);
    memcpy(base + VELOCITY, speed, 3 * sizeof(double));
    turn(base + TURN, speed + 3, base + RATE);
}

/* `MujocoEngine._set_friction`: each toe's friction is that of its place. */
static void set_friction(mujoco_t *mujoco)
{
    for (int64_t k = 0; k < mujoco->pair_count; k++) {
        const pair_t *pair = &mujoco->pairs[k];
        const double *middle_m = mujoco->geom_m + 3 * pair->geom;
        const double *knee_m = mujoco->body_m + 3 * pair->body;
        double x_m = 2.0 * middle_m[0] - knee_m[0], y_m = 2.0 * middle_m[1] - knee_m[1];
        double friction = mujoco->friction * friction_scale(&mujoco->terrain, x_m, y_m);
        mujoco->pair_friction[5 * pair->pair] = friction;
        mujoco->pair_friction[5 * pair->pair + 1] = friction;
    }
}

int mujoco_step(void *engine, const double torque_nm[MOTORS], const double *push_n)
{
    mujoco_t *mujoco = engine;
    if (is_beyond(&mujoco->terrain, mujoco->position)) {
        return 1;
    }
    for (int i = 0; i < MOTORS; i++) {
        mujoco->torque_nm[mujoco->motors.speed_at[i]] = torque_nm[i] * mujoco->motors.direction[i];
    }
    for (int axis = 0; axis < 3; axis++) {
        mujoco->push_n[axis] = push_n ? push_n[axis] : 0.0;
    }
    if (mujoco->terrain.scale != 1.0) {
        set_friction(mujoco);
    }
    mujoco->mj_step(mujoco->model, mujoco->data);
    for (int joint = BODY_SPEEDS; joint < BODY_SPEEDS + 2 * MOTORS; joint++) {
        if (fabs(mujoco->speed[joint]) > mujoco->max_joint_rad_s) {
            mujoco->speed[joint] = copysign(mujoco->max_joint_rad_s, mujoco->speed[joint]);
        }
    }
    return 0;
}
