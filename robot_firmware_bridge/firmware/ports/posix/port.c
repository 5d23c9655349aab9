#include "port.h"

#include <string.h>

#include "firmware.h"
#include "hal.h"

/* The other side, library.py, sees these structs as bytes. */
_Static_assert(sizeof(sensors_t) == 31 * sizeof(float), "sensors_t must be floats throughout");
_Static_assert(offsetof(drive_t, duty) == 4 && sizeof(drive_t) == 36, "drive_t has another layout");

/* As large as on a board: what a host does not fetch in time is refused. */
#define RECEIVE_BYTES 4096
#define TRANSMIT_BYTES 1024

typedef struct {
    uint16_t boot_count;
    uint32_t baud;
    uint8_t board_id[12];
    uint32_t time_us;
    bool tick_due;
    sensors_t sensors;
    drive_t drive;
    uint8_t received[RECEIVE_BYTES];
    size_t received_size;
    uint8_t sent[TRANSMIT_BYTES];
    size_t sent_size;
} board_t;

static board_t board;

/* Moves up to `capacity` bytes out of the front of a buffer. */
static size_t take(uint8_t *buffer, size_t *buffer_size, uint8_t *to, size_t capacity)
{
    size_t size = *buffer_size < capacity ? *buffer_size : capacity;
    memcpy(to, buffer, size);
    memmove(buffer, buffer + size, *buffer_size - size);
    *buffer_size -= size;
    return size;
}

void port_start(uint16_t boot_count, uint32_t baud, const uint8_t board_id[12])
{
    board = (board_t){.boot_count = boot_count, .baud = baud};
    memcpy(board.board_id, board_id, sizeof board.board_id);
    firmware_start();
}

void port_receive(const uint8_t *from, size_t size)
{
    size_t room = RECEIVE_BYTES - board.received_size;
    size_t taken = size < room ? size : room;
    memcpy(board.received + board.received_size, from, taken);
    board.received_size += taken;
}

void port_tick(uint32_t time_us, const sensors_t *sensors, drive_t *drive)
{
    board.time_us = time_us;
    board.sensors = *sensors;
    board.tick_due = true;
    firmware_poll();
    *drive = board.drive;
}

size_t port_transmit(uint8_t *to, size_t capacity)
{
    return take(board.sent, &board.sent_size, to, capacity);
}

uint32_t hal_micros(void)
{
    return board.time_us;
}

bool hal_tick_due(void)
{
    bool due = board.tick_due;
    board.tick_due = false;
    return due;
}

void hal_idle(void)
{
    /* The caller decides when time passes. */
}

void hal_alive(void)
{
    /* Memory needs no watchdog. */
}

size_t hal_host_read(uint8_t *to, size_t capacity)
{
    return take(board.received, &board.received_size, to, capacity);
}

bool hal_host_write(const uint8_t *from, size_t size)
{
    if (size > TRANSMIT_BYTES - board.sent_size) {
        return false;
    }
    memcpy(board.sent + board.sent_size, from, size);
    board.sent_size += size;
    return true;
}

uint32_t hal_host_baud(void)
{
    return board.baud;
}

void hal_sense(sensors_t *sensors)
{
    *sensors = board.sensors;
}

void hal_drive(const drive_t *drive)
{
    board.drive = *drive;
}

uint16_t hal_boot_count(void)
{
    return board.boot_count;
}

void hal_board_id(uint8_t id[12])
{
    memcpy(id, board.board_id, sizeof board.board_id);
}
