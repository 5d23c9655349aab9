#include "probe.h"

#include <string.h>

#include "drive_law.h"
#include "frame.h"
#include "thermal.h"

static decoder_t decoder;

void probe_decoder_start(void)
{
    decoder_start(&decoder);
}

size_t probe_decoder_feed(const uint8_t *from, size_t size, uint8_t *to, size_t capacity)
{
    size_t written = 0;
    for (size_t i = 0; i < size; i++) {
        frame_t frame;
        if (!decoder_push(&decoder, from[i], &frame)) {
            continue;
        }
        size_t payload = (size_t)message_payload_size(frame.id);
        if (1 + payload <= capacity - written) {
            to[written] = frame.id;
            memcpy(to + written + 1, frame.payload, payload);
            written += 1 + payload;
        }
    }
    return written;
}

void probe_decoder_counters(uint32_t counters[3])
{
    counters[0] = decoder.frames;
    counters[1] = decoder.crc_errors;
    counters[2] = decoder.framing_errors;
}

size_t probe_encode(uint8_t id, const uint8_t *payload, uint8_t *wire)
{
    return frame_encode(id, payload, wire);
}

#define REPACK(name)                         \
    {                                        \
        name##_message_t message;            \
        name##_unpack(payload, &message);    \
        name##_pack(&message, again);        \
        return 0;                            \
    }

int probe_repack(uint8_t id, const uint8_t *payload, uint8_t *again)
{
    switch (id) {
    case MESSAGE_HELLO:
        REPACK(hello)
    case MESSAGE_REQUEST:
        REPACK(request)
    case MESSAGE_COMMAND:
        REPACK(command)
    case MESSAGE_IDENTITY:
        REPACK(identity)
    case MESSAGE_REPLY:
        REPACK(reply)
    case MESSAGE_STATE:
        REPACK(state)
    case MESSAGE_DRIVE:
        REPACK(drive)
    case MESSAGE_SENSORS:
        REPACK(sensors)
    default:
        return -1;
    }
}

void probe_drive_law(const float motors[24], const float numbers[5], float out[24])
{
    setpoint_t setpoint = {.kp = numbers[0], .kd = numbers[1]};
    supply_t supply = {.battery_v = numbers[2], .duty_scale = numbers[3], .duty_bound = numbers[4]};
    sensors_t sensors = {.battery_v = numbers[2]};
    memcpy(setpoint.target_rad, motors, sizeof setpoint.target_rad);
    memcpy(sensors.motor_position_rad, motors + 8, sizeof sensors.motor_position_rad);
    memcpy(sensors.motor_velocity_rad_s, motors + 16, sizeof sensors.motor_velocity_rad_s);

    load_t load;
    drive_law(&setpoint, &sensors, &supply, &load);
    memcpy(out, load.duty, sizeof load.duty);
    memcpy(out + 8, load.current_a, sizeof load.current_a);
    memcpy(out + 16, load.torque_nm, sizeof load.torque_nm);
}

void probe_thermal(const float current_a[8], const float measured_c[8], uint32_t ticks,
                   float out[16])
{
    thermal_t thermal;
    thermal_start(&thermal);
    for (uint32_t i = 0; i < ticks; i++) {
        thermal_tick(&thermal, current_a, measured_c, 1);
    }
    memcpy(out, thermal.winding_temperature_c, sizeof thermal.winding_temperature_c);
    memcpy(out + 8, thermal.housing_temperature_c, sizeof thermal.housing_temperature_c);
}
