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

typedef struct {
    void (*mj_step)(const void *model, void *data);
    const void *model;
    void *data;
    const double *position;
    double *speed;
    double *torque_nm;
    double *push_n;
    motors_t motors;
    double ground_m[2]; /* the middle of what lies there, and how far from it along x and y it lies */
    double reach_m;
    double max_joint_rad_s;
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

int mujoco_step(void *engine, const double torque_nm[MOTORS], const double *push_n)
{
    mujoco_t *mujoco = engine;
    for (int axis = 0; axis < 2; axis++) {
        if (fabs(mujoco->position[axis] - mujoco->ground_m[axis]) >= mujoco->reach_m) {
            return 1;
        }
    }
    for (int i = 0; i < MOTORS; i++) {
        mujoco->torque_nm[mujoco->motors.speed_at[i]] = torque_nm[i] * mujoco->motors.direction[i];
    }
    for (int axis = 0; axis < 3; axis++) {
        mujoco->push_n[axis] = push_n ? push_n[axis] : 0.0;
    }
    mujoco->mj_step(mujoco->model, mujoco->data);
    for (int joint = BODY_SPEEDS; joint < BODY_SPEEDS + 2 * MOTORS; joint++) {
        if (fabs(mujoco->speed[joint]) > mujoco->max_joint_rad_s) {
            mujoco->speed[joint] = copysign(mujoco->max_joint_rad_s, mujoco->speed[joint]);
        }
    }
    return 0;
}
