/* Quaternions (x, y, z, w), in the order of operations of `robot_firmware_bridge/geometry.py`. */
#ifndef QUATERNION_H
#define QUATERNION_H

#include <math.h>

/* `normalized`, in place. */
static inline void normalize(double q[4])
{
    double length = sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    for (int i = 0; i < 4; i++) {
        q[i] /= length;
    }
}

/* `quaternion_product`. */
static inline void product(const double a[4], const double b[4], double out[4])
{
    out[0] = a[3] * b[0] + a[0] * b[3] + a[1] * b[2] - a[2] * b[1];
    out[1] = a[3] * b[1] - a[0] * b[2] + a[1] * b[3] + a[2] * b[0];
    out[2] = a[3] * b[2] + a[0] * b[1] - a[1] * b[0] + a[2] * b[3];
    out[3] = a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2];
}

static inline double dot(const double a[3], const double b[3])
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/* `cross_product`. */
static inline void cross(const double a[3], const double b[3], double out[3])
{
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

/* `turned`. */
static inline void turn(const double q[4], const double v[3], double out[3])
{
    double twice[3], again[3];
    cross(q, v, twice);
    for (int i = 0; i < 3; i++) {
        twice[i] *= 2.0;
    }
    cross(q, twice, again);
    for (int i = 0; i < 3; i++) {
        out[i] = v[i] + q[3] * twice[i] + again[i];
    }
}

#endif
