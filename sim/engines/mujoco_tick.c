/* The robot in MuJoCo: torques and pushes in, motion out. `sim/engines/mujoco.py` does the same.
 *
 * Python builds the model and passes the addresses of MuJoCo's own memory, so nothing of MuJoCo's
 * headers is needed here.
 */
#include <string.h>

#include "tick.h"

typedef struct {
    void (*mj_step)(const void *model, void *data);
    const void *model;
    void *data;
    const double *position;
    const double *speed;
    double *torque_nm;
    double *push_n;
    int64_t position_at[MOTORS];
    int64_t dof[MOTORS];
    double direction[MOTORS];
} mujoco_t;

#pragma GCC visibility push(default)
void mujoco_measure(void *engine, row_t *row);
int mujoco_step(void *engine, const double torque_nm[MOTORS], const double *push_n);
#pragma GCC visibility pop

void mujoco_measure(void *engine, row_t *row)
{
    const mujoco_t *mujoco = engine;
    for (int i = 0; i < MOTORS; i++) {
        row->position_rad[i] = mujoco->position[mujoco->position_at[i]] * mujoco->direction[i];
        row->velocity_rad_s[i] = mujoco->speed[mujoco->dof[i]] * mujoco->direction[i];
    }
    memcpy(row->base, mujoco->position, 7 * sizeof(double));
    memcpy(row->base + 7, mujoco->speed, 6 * sizeof(double));
}

int mujoco_step(void *engine, const double torque_nm[MOTORS], const double *push_n)
{
    mujoco_t *mujoco = engine;
    for (int i = 0; i < MOTORS; i++) {
        mujoco->torque_nm[mujoco->dof[i]] = torque_nm[i] * mujoco->direction[i];
    }
    for (int axis = 0; axis < 3; axis++) {
        mujoco->push_n[axis] = push_n ? push_n[axis] : 0.0;
    }
    mujoco->mj_step(mujoco->model, mujoco->data);
    return 0;
}
