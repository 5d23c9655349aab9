/* The equations of a drive, for whoever computes with them: the firmware in float, the simulated
 * robot in double. Define the type `real` first.
 *
 * Tan et al. 2018, section IV-A: current = (duty * battery - Kt * speed) / R, and torque a measured,
 * saturating curve over current. Numbers must be finite: the curve has a value for NaN, too.
 */
#ifndef DRIVE_EQUATIONS_H
#define DRIVE_EQUATIONS_H

static inline real drive_clip(real value, real low, real high)
{
    return value < low ? low : value > high ? high : value;
}

/* Before its bound: proportional to the error, less a part of the speed. */
static inline real drive_duty(real kp, real error_rad, real kd, real speed_rad_s)
{
    return kp * error_rad - kd * speed_rad_s;
}

static inline real drive_current(real duty, real battery_v, real back_emf_v, real clip_v,
                                 real resistance_ohm)
{
    return drive_clip(duty * battery_v - back_emf_v, -clip_v, clip_v) / resistance_ohm;
}

/* The size of the torque: linear between the measured points, flat past the last. */
static inline real drive_curve(real size_a, const real *points_a, const real *points_nm, int points)
{
    for (int i = 1; i < points; i++) {
        if (size_a < points_a[i]) {
            real slope = (points_nm[i] - points_nm[i - 1]) / (points_a[i] - points_a[i - 1]);
            return slope * (size_a - points_a[i - 1]) + points_nm[i - 1];
        }
    }
    return points_nm[points - 1];
}

#endif
