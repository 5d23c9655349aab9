/* The robot in Bullet: torques and pushes in, motion out, and friction with the floor in between.
 *
 * PyBullet's module exports the C interface of Bullet's physics client. A plugin gets a client of
 * the same world that Python sees; Python builds the world, this file steps it. What it declares of
 * Bullet is its public C interface (PhysicsClientC_API.h, SharedMemoryPublic.h) of the version that
 * BULLET_API names. `sim/engines/bullet.py` and `floor_friction.py` do the same in Python.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quaternion.h"
#include "tick.h"

enum {
    BULLET_API = 202010061,
    TORQUE_CONTROL = 1,
    WORLD_FRAME = 2,
    MOST_LINKS = 128,
};

typedef struct client client_t;
typedef struct command command_t;
typedef struct status status_t;

typedef struct {
    client_t *client;
} plugin_context_t;

typedef struct {
    char text[1024];
} plugin_arguments_t;

typedef struct {
    double at_m[3];
    double orientation[4];
    double local_at_m[3];
    double local_orientation[4];
    double frame_at_m[3];
    double frame_orientation[4];
    double velocity_m_s[3];
    double rate_rad_s[3];
    double box_low_m[3];
    double box_high_m[3];
} link_state_t;

typedef struct {
    int flags;
    int body_a, body_b;
    int link_a, link_b;
    double on_a_m[3], on_b_m[3];
    double normal_on_b[3];
    double distance_m;
    double normal_n;
    double friction1_n, direction1[3];
    double friction2_n, direction2[3];
} contact_t;

typedef struct {
    int count;
    const contact_t *points;
} contacts_t;

status_t *b3SubmitClientCommandAndWaitStatus(client_t *, command_t *);
command_t *b3InitStepSimulationCommand(client_t *);
command_t *b3InitSyncBodyInfoCommand(client_t *);
command_t *b3JointControlCommandInit2(client_t *, int body, int mode);
int b3JointControlSetDesiredForceTorque(command_t *, int dof, double value);
command_t *b3ApplyExternalForceCommandInit(client_t *);
void b3ApplyExternalForce(command_t *, int body, int link, const double force[3],
                          const double at[3], int frame);
command_t *b3RequestActualStateCommandInit(client_t *, int body);
int b3RequestActualStateCommandComputeLinkVelocity(command_t *, int compute);
int b3GetStatusActualState(status_t *, int *body, int *positions, int *speeds,
                           const double **inertial_frame, const double **position,
                           const double **speed, const double **reaction);
int b3GetLinkState(client_t *, status_t *, int link, link_state_t *);
command_t *b3InitRequestContactPointInformation(client_t *);
void b3SetContactFilterBodyA(command_t *, int body);
void b3GetContactPointInformation(client_t *, contacts_t *);

/* A link that touches the ground. Link -1 is the base. */
typedef struct {
    int64_t link;
    double normal_n;      /* sum of the sizes of all normal forces */
    double force_n[3];    /* sum of the normal forces */
    double x, y, z;       /* of the contact, times the size */
    double centre_m[3];   /* of mass of the link */
    double velocity_m_s[3], rate_rad_s[3];
} pressed_t;

typedef struct {
    client_t *client;
    int64_t body;
    int64_t ground[2];    /* the first number of a body of the ground, and the first after them */
    motors_t motors;
    /* Of the body's link: its centre of mass, and its axes in Bullet's frame of the base. */
    double com_m[3], link_turn[4];
    int64_t has_friction; /* of our own with the ground */
    double friction; /* outside of patches */
    double stiffness_n_per_m, damping_n_s_per_m;
    int64_t moved; /* the robot was put somewhere else: its contacts are those of the old place */
    terrain_t terrain;
    /* As last measured: how the base moves, and what touches the ground and how that moves. */
    int64_t is_known;
    double base_m[3], base_velocity_m_s[3], base_rate_rad_s[3];
    int64_t pressed_count;
    pressed_t pressed[MOST_LINKS + 1];
    /* How far each link's contact is from where it took hold; only of links that touch. */
    double held_m[MOST_LINKS + 1][3];
} bullet_t;

#pragma GCC visibility push(default)

/* Python declares the same structure. */
int64_t bullet_bytes(void)
{
    return sizeof(bullet_t);
}

int initPlugin_minitaur(plugin_context_t *context)
{
    (void)context;
    return BULLET_API;
}

void exitPlugin_minitaur(plugin_context_t *context)
{
    (void)context;
}

/* Called with the address of a `bullet_t` as a text: gives it the client of this world. */
int executePluginCommand_minitaur(plugin_context_t *context, const plugin_arguments_t *arguments)
{
    void *address = NULL;
    if (sscanf(arguments->text, "%p", &address) != 1 || address == NULL) {
        return -1;
    }
    ((bullet_t *)address)->client = context->client;
    return 0;
}

/* The world was built anew: the client learns what bodies there are. */
void bullet_begin(bullet_t *bullet, int64_t moved)
{
    if (!bullet->client) {
        return;
    }
    b3SubmitClientCommandAndWaitStatus(bullet->client, b3InitSyncBodyInfoCommand(bullet->client));
    bullet->moved = moved;
    bullet->is_known = 0;
    memset(bullet->held_m, 0, sizeof bullet->held_m);
}

void bullet_measure(void *engine, row_t *row);
int bullet_step(void *engine, const double torque_nm[MOTORS], const double *push_n);

#pragma GCC visibility pop

static status_t *submit(bullet_t *bullet, command_t *command)
{
    return b3SubmitClientCommandAndWaitStatus(bullet->client, command);
}

/* The base as the origin of the body's link: `BulletEngine.measure`. Bullet's own frame of it is at
 * the centre of mass, along the principal axes.
 */
static void read_base(const bullet_t *bullet, const double *position, const double *speed,
                      double base[BASE])
{
    double com_m[3], back_m[3], swing_m_s[3];
    product(position + 3, bullet->link_turn, base + TURN);
    normalize(base + TURN);
    turn(base + TURN, bullet->com_m, com_m);
    for (int i = 0; i < 3; i++) {
        back_m[i] = -com_m[i];
    }
    cross(speed + 3, back_m, swing_m_s);
    for (int i = 0; i < 3; i++) {
        base[PLACE + i] = position[i] + back_m[i];
        base[VELOCITY + i] = speed[i] + swing_m_s[i];
        base[RATE + i] = speed[3 + i];
    }
}

/* The links that touch the ground, in the order in which Bullet names them. */
static void press(bullet_t *bullet)
{
    command_t *request = b3InitRequestContactPointInformation(bullet->client);
    b3SetContactFilterBodyA(request, (int)bullet->body);
    submit(bullet, request);
    contacts_t contacts = {0};
    b3GetContactPointInformation(bullet->client, &contacts);
    pressed_t *pressed = bullet->pressed;
    int64_t count = 0;
    for (int k = 0; k < contacts.count; k++) {
        const contact_t *point = &contacts.points[k];
        double n = point->normal_n;
        if (!(n > 0.0) || point->link_a >= MOST_LINKS || point->body_b < bullet->ground[0] ||
            point->body_b >= bullet->ground[1]) {
            continue;
        }
        int64_t at = 0;
        while (at < count && pressed[at].link != point->link_a) {
            at++;
        }
        if (at == count) {
            pressed[count++] = (pressed_t){.link = point->link_a};
        }
        pressed[at].normal_n += n;
        for (int axis = 0; axis < 3; axis++) {
            pressed[at].force_n[axis] += n * point->normal_on_b[axis];
        }
        pressed[at].x += n * point->on_a_m[0];
        pressed[at].y += n * point->on_a_m[1];
        pressed[at].z += n * point->on_a_m[2];
    }
    bullet->pressed_count = count;
}

/* How a link moves, of the state that Bullet has sent. */
static void read_link(bullet_t *bullet, status_t *status, pressed_t *pressed)
{
    if (pressed->link < 0) {
        memcpy(pressed->centre_m, bullet->base_m, sizeof bullet->base_m);
        memcpy(pressed->velocity_m_s, bullet->base_velocity_m_s, sizeof bullet->base_velocity_m_s);
        memcpy(pressed->rate_rad_s, bullet->base_rate_rad_s, sizeof bullet->base_rate_rad_s);
        return;
    }
    link_state_t link;
    b3GetLinkState(bullet->client, status, (int)pressed->link, &link);
    memcpy(pressed->centre_m, link.at_m, sizeof link.at_m);
    memcpy(pressed->velocity_m_s, link.velocity_m_s, sizeof link.velocity_m_s);
    memcpy(pressed->rate_rad_s, link.rate_rad_s, sizeof link.rate_rad_s);
}

void bullet_measure(void *engine, row_t *row)
{
    bullet_t *bullet = engine;
    if (bullet->has_friction) {
        press(bullet);
    }
    command_t *request = b3RequestActualStateCommandInit(bullet->client, (int)bullet->body);
    if (bullet->has_friction) {
        b3RequestActualStateCommandComputeLinkVelocity(request, 1);
    }
    status_t *status = submit(bullet, request);
    const double *position = NULL, *speed = NULL;
    if (!b3GetStatusActualState(status, NULL, NULL, NULL, NULL, &position, &speed, NULL)) {
        return; /* no such robot any more; Python finds out before the next step */
    }
    read_motors(&bullet->motors, position, speed, row);
    read_base(bullet, position, speed, row->base);
    memcpy(bullet->base_m, position, sizeof bullet->base_m);
    memcpy(bullet->base_velocity_m_s, speed, sizeof bullet->base_velocity_m_s);
    memcpy(bullet->base_rate_rad_s, speed + 3, sizeof bullet->base_rate_rad_s);
    if (bullet->has_friction) {
        for (int64_t k = 0; k < bullet->pressed_count; k++) {
            read_link(bullet, status, &bullet->pressed[k]);
        }
    }
    bullet->is_known = 1;
}

/* A force on a link over the next tick, world frame. Of several forces in one command Bullet takes
 * another sum.
 */
static void push(bullet_t *bullet, int link, const double force_n[3], const double at_m[3])
{
    command_t *command = b3ApplyExternalForceCommandInit(bullet->client);
    b3ApplyExternalForce(command, (int)bullet->body, link, force_n, at_m, WORLD_FRAME);
    submit(bullet, command);
}

/* `floor_friction.friction_force`: the force over the next tick; `held_m` becomes the new one. */
static void hold(const bullet_t *bullet, double held_m[3], const double slip_m_s[3],
                 double bound_n, double force_n[3])
{
    double stiffness = bullet->stiffness_n_per_m, damping = bullet->damping_n_s_per_m;
    for (int i = 0; i < 3; i++) {
        held_m[i] = held_m[i] + slip_m_s[i] * TICK_S;
        force_n[i] = -stiffness * held_m[i] - damping * slip_m_s[i];
    }
    double size = sqrt(dot(force_n, force_n));
    if (size > bound_n) {
        for (int i = 0; i < 3; i++) {
            force_n[i] = force_n[i] * bound_n / size;
            held_m[i] = -force_n[i] / stiffness;
        }
    }
}

/* `floor_friction.along`: what of a vector is along a surface. */
static void along(const double normal[3], double vector[3])
{
    double out = dot(vector, normal);
    for (int i = 0; i < 3; i++) {
        vector[i] = vector[i] - out * normal[i];
    }
}

static void rub(bullet_t *bullet)
{
    if (bullet->moved) {
        bullet->moved = 0;
        return;
    }
    double held_m[MOST_LINKS + 1][3];
    memcpy(held_m, bullet->held_m, sizeof held_m);
    memset(bullet->held_m, 0, sizeof bullet->held_m);
    for (int64_t k = 0; k < bullet->pressed_count; k++) {
        const pressed_t *pressed = &bullet->pressed[k];
        int link = (int)pressed->link;
        double n = pressed->normal_n, size = sqrt(dot(pressed->force_n, pressed->force_n));
        if (!(size > 0.0)) {
            continue;
        }
        double at_m[3] = {pressed->x / n, pressed->y / n, pressed->z / n};
        double normal[3], arm_m[3], slip_m_s[3], force_n[3];
        for (int i = 0; i < 3; i++) {
            normal[i] = pressed->force_n[i] / size;
            arm_m[i] = at_m[i] - pressed->centre_m[i];
        }
        cross(pressed->rate_rad_s, arm_m, slip_m_s);
        for (int i = 0; i < 3; i++) {
            slip_m_s[i] = pressed->velocity_m_s[i] + slip_m_s[i];
        }
        along(normal, slip_m_s);
        along(normal, held_m[link + 1]);
        double friction = bullet->friction * friction_scale(&bullet->terrain, at_m[0], at_m[1]);
        hold(bullet, held_m[link + 1], slip_m_s, friction * size, force_n);
        memcpy(bullet->held_m[link + 1], held_m[link + 1], sizeof held_m[0]);
        push(bullet, link, force_n, at_m);
    }
}

int bullet_step(void *engine, const double torque_nm[MOTORS], const double *push_n)
{
    bullet_t *bullet = engine;
    if (!bullet->client) {
        return 1;
    }
    if (!bullet->is_known) {
        row_t row;
        bullet_measure(bullet, &row);
    }
    if (is_beyond(&bullet->terrain, bullet->base_m)) {
        return 1;
    }
    if (push_n) {
        push(bullet, -1, push_n, bullet->base_m);
    }
    command_t *command =
        b3JointControlCommandInit2(bullet->client, (int)bullet->body, TORQUE_CONTROL);
    for (int i = 0; i < MOTORS; i++) {
        b3JointControlSetDesiredForceTorque(command, (int)bullet->motors.speed_at[i],
                                            torque_nm[i] * bullet->motors.direction[i]);
    }
    submit(bullet, command);
    if (bullet->has_friction) {
        rub(bullet);
    }
    submit(bullet, b3InitStepSimulationCommand(bullet->client));
    return 0;
}
