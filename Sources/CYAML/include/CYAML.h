// YAML for Swift: libyaml's parser as a stream of flat events with their places. Scalars stay text;
// what they mean is for the caller to say.

#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    PULSE_YAML_SCALAR = 1,
    PULSE_YAML_MAPPING_START = 2,
    PULSE_YAML_MAPPING_END = 3,
    PULSE_YAML_SEQUENCE_START = 4,
    PULSE_YAML_SEQUENCE_END = 5,
    PULSE_YAML_DOCUMENT_START = 6,
    PULSE_YAML_ALIAS = 7,
};

/// One event. Lines and columns count from 0, columns in characters. `text` is borrowed.
typedef struct {
    int kind;
    const uint8_t *text;
    size_t length;
    /// Whether a scalar was written without quotes.
    int is_plain;
    /// Whether the node carries an anchor (`&a`) or an explicit tag (`!!int`).
    int is_decorated;
    size_t line, column;
} pulse_yaml_event;

/// Why parsing stopped. `message` is one of libyaml's constant sentences.
typedef struct {
    const char *message;
    size_t line, column;
} pulse_yaml_problem;

/// Answers 0 to stop early.
typedef int (*pulse_yaml_visitor)(void *context, const pulse_yaml_event *event);

/// Parses `count` bytes and calls `visitor` for each event. Answers 0 at the end or when stopped, and
/// -1 with `problem` filled in when the bytes are not YAML.
int pulse_yaml_parse(
    const uint8_t *bytes, size_t count, pulse_yaml_visitor visitor, void *context,
    pulse_yaml_problem *problem);
