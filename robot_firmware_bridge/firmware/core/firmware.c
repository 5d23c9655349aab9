#include "firmware.h"

#include <math.h>
#include <string.h>

#include "controller.h"
#include "frame.h"
#include "hal.h"
#include "session.h"

/* Bytes taken from the host per poll: more than come in a tick at 2 Mbaud. */
#define LISTEN_BYTES 256

static decoder_t decoder;
static session_t session;
static controller_t controller;

/* All or nothing, and never a wait: a full line loses the message, and the host asks again. */
static void send(uint8_t id, const uint8_t *payload)
{
    uint8_t wire[FRAME_MAX_WIRE];
    (void)hal_host_write(wire, frame_encode(id, payload, wire));
}

static void send_identity(void)
{
    identity_message_t identity = {
        .protocol_hash = PROTOCOL_HASH,
        .robot_hash = ROBOT_HASH,
        .state_interval_ms = (uint8_t)session.state_interval_ms,
        .boot_count = hal_boot_count(),
        .firmware_id = FIRMWARE_ID,
        .max_kp = LIMIT_MAX_KP,
        .max_kd = LIMIT_MAX_KD,
        .max_duty = LIMIT_MAX_DUTY,
        .max_current_a = LIMIT_MAX_CURRENT_A,
        .max_valid_ms = LIMIT_MAX_VALID_MS,
    };
    hal_board_id(identity.board_id);
    uint8_t payload[IDENTITY_SIZE];
    identity_pack(&identity, payload);
    send(MESSAGE_IDENTITY, payload);
}

/* A new host must not inherit a moving robot. */
static void on_hello(const uint8_t *payload)
{
    hello_message_t hello;
    hello_unpack(payload, &hello);
    session_hello(&session, &hello, hal_host_baud());
    modes_disarm(&controller.modes);
    controller.compensate_battery = hello.compensate_battery != 0;
    send_identity();
}

static void on_request(const uint8_t *payload)
{
    request_message_t request;
    request_unpack(payload, &request);
    reply_message_t reply = {
        .sequence = request.sequence,
        .action = request.action,
        .result = modes_request(&controller.modes, request.action, session.introduced),
    };
    reply.mode = controller.modes.mode;
    reply.fault = modes_faults(&controller.modes);
    uint8_t answer[REPLY_SIZE];
    reply_pack(&reply, answer);
    send(MESSAGE_REPLY, answer);
}

static void on_command(const uint8_t *payload)
{
    command_message_t command;
    command_unpack(payload, &command);
    if (session.introduced && session_is_new(&session, command.sequence) &&
        controller_command(&controller, &command, hal_micros())) {
        session.command_echo = command.sequence;
    }
}

static void dispatch(const frame_t *frame)
{
    switch (frame->id) {
    case MESSAGE_HELLO:
        on_hello(frame->payload);
        break;
    case MESSAGE_REQUEST:
        on_request(frame->payload);
        break;
    case MESSAGE_COMMAND:
        on_command(frame->payload);
        break;
    default:
        break; /* not for a board */
    }
}

static void listen(void)
{
    uint8_t bytes[LISTEN_BYTES];
    size_t size = hal_host_read(bytes, sizeof bytes);
    for (size_t i = 0; i < size; i++) {
        frame_t frame;
        if (decoder_push(&decoder, bytes[i], &frame)) {
            dispatch(&frame);
        }
    }
}

static void send_state(const sensors_t *sensors, uint32_t time_us)
{
    state_message_t state = {
        .sequence = session.state_sequence++,
        .boot_count = hal_boot_count(),
        .time_us = time_us,
        .command_echo = session.command_echo,
        .commands_lost = session.commands_lost,
        .bad_frames = (uint16_t)(decoder.crc_errors + decoder.framing_errors),
        .mode = controller.modes.mode,
        .fault = modes_faults(&controller.modes),
        .battery_v = sensors->battery_v,
    };
    memcpy(state.motor_position_rad, sensors->motor_position_rad, sizeof state.motor_position_rad);
    memcpy(state.motor_velocity_rad_s, sensors->motor_velocity_rad_s,
           sizeof state.motor_velocity_rad_s);
    memcpy(state.motor_torque_nm, controller.load.torque_nm, sizeof state.motor_torque_nm);
    memcpy(state.rpy_rad, sensors->rpy_rad, sizeof state.rpy_rad);
    memcpy(state.angular_rate_rad_s, sensors->angular_rate_rad_s, sizeof state.angular_rate_rad_s);
    for (int i = 0; i < ROBOT_MOTORS; i++) {
        float winding_c = controller.protection.thermal.winding_temperature_c[i];
        state.winding_temperature_c[i] = (uint8_t)rintf(fminf(fmaxf(winding_c, 0.0f), 255.0f));
    }
    uint8_t payload[STATE_SIZE];
    state_pack(&state, payload);
    send(MESSAGE_STATE, payload);
}

static void tick(void)
{
    uint32_t now_us = hal_micros();
    sensors_t sensors;
    drive_t drive;
    hal_sense(&sensors);
    controller_tick(&controller, &sensors, now_us, &drive);
    hal_drive(&drive);
    if (session_state_due(&session)) {
        send_state(&sensors, now_us);
    }
    hal_alive();
}

void firmware_start(void)
{
    decoder_start(&decoder);
    session_start(&session);
    controller_start(&controller);
}

void firmware_poll(void)
{
    listen();
    if (hal_tick_due()) {
        tick();
    }
}
