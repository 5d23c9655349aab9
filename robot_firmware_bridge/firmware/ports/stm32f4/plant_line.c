#include "plant_line.h"

#include <math.h>
#include <string.h>

#include "clock.h"
#include "frame.h"
#include "hal.h"
#include "semihosting.h"
#include "uart.h"

#define BAUD 2000000u /* 0.9 ms for the 180 bytes of both ways, at once */
/* Older readings are none. Long enough for an emulator's bad moments, short against a fall. */
#define STALE_MS 50u
#define READ_BYTES 256u
/* For the first reading; without it the core starts from an empty battery. */
#define PATIENCE_US 200000u
/* Under an emulator, in the directory where it was started; `sim.board.qemu` makes them. */
#define DRIVE_FILE "drive"
#define SENSORS_FILE "sensors"

static uart_t line;
static int32_t drive_file;
static int32_t sensors_file;
static decoder_t decoder;
static sensors_message_t newest;
static uint32_t newest_ms;
static bool received;
/* Made ahead: when it is wanted, nothing else may work. */
static uint8_t release_frame[FRAME_MAX_WIRE];
static size_t release_size;

static size_t encode(const drive_t *drive, uint8_t wire[FRAME_MAX_WIRE])
{
    drive_message_t message = {.tick = clock_tick(), .enabled = drive->enabled ? 1u : 0u};
    memcpy(message.duty, drive->duty, sizeof message.duty);
    uint8_t payload[DRIVE_SIZE];
    drive_pack(&message, payload);
    return frame_encode(MESSAGE_DRIVE, payload, wire);
}

static size_t receive(uint8_t *to, size_t capacity)
{
    return clock_rates()->emulated ? semihosting_read_anew(sensors_file, to, capacity)
                                   : uart_read(&line, to, capacity);
}

/* All or nothing; a drive that finds no room is made good by the next, a millisecond on. */
static void send(const uint8_t *from, size_t size)
{
    if (clock_rates()->emulated) {
        semihosting_write(drive_file, from, size);
    } else {
        (void)uart_write(&line, from, size);
    }
}

static void take(const frame_t *frame)
{
    if (frame->id != MESSAGE_SENSORS) {
        return;
    }
    const uint32_t last = newest.tick;
    sensors_unpack(frame->payload, &newest);
    if (!received || newest.tick != last) { /* a file shows the same reading until the next */
        received = true;
        newest_ms = clock_tick();
    }
}

static void listen(void)
{
    uint8_t bytes[READ_BYTES];
    const size_t size = receive(bytes, sizeof bytes);
    for (size_t i = 0; i < size; i++) {
        frame_t frame;
        if (decoder_push(&decoder, bytes[i], &frame)) {
            take(&frame);
        }
    }
}

void plant_line_start(void)
{
    const drive_t open = {.enabled = false};
    release_size = encode(&open, release_frame);
    decoder_start(&decoder);
    if (clock_rates()->emulated) {
        drive_file = semihosting_open(DRIVE_FILE, SEMIHOSTING_WRITE);
        sensors_file = semihosting_open(SENSORS_FILE, SEMIHOSTING_READ);
    } else {
        uart_start(&line, USART2, USART2_IRQ, clock_rates()->apb1_hz, BAUD);
    }
    send(release_frame, release_size);
    const uint32_t asked_us = hal_micros();
    while (!received && hal_micros() - asked_us < PATIENCE_US) {
        listen();
    }
}

void plant_line_release(void)
{
    if (clock_rates()->emulated) {
        semihosting_write(drive_file, release_frame, release_size);
    } else {
        uart_write_now(USART2, release_frame, release_size);
    }
}

void hal_sense(sensors_t *sensors)
{
    listen();
    memcpy(sensors->motor_position_rad, newest.motor_position_rad,
           sizeof sensors->motor_position_rad);
    memcpy(sensors->motor_velocity_rad_s, newest.motor_velocity_rad_s,
           sizeof sensors->motor_velocity_rad_s);
    memcpy(sensors->rpy_rad, newest.rpy_rad, sizeof sensors->rpy_rad);
    memcpy(sensors->angular_rate_rad_s, newest.angular_rate_rad_s,
           sizeof sensors->angular_rate_rad_s);
    memcpy(sensors->housing_temperature_c, newest.housing_temperature_c,
           sizeof sensors->housing_temperature_c);
    sensors->battery_v = newest.battery_v;
    if (!received || clock_tick() - newest_ms > STALE_MS) {
        for (int i = 0; i < ROBOT_MOTORS; i++) {
            sensors->motor_position_rad[i] = NAN; /* the core takes that for a dead encoder */
        }
    }
}

void hal_drive(const drive_t *drive)
{
    uint8_t wire[FRAME_MAX_WIRE];
    send(wire, encode(drive, wire));
}

void usart2_handler(void)
{
    uart_interrupt(&line);
}
