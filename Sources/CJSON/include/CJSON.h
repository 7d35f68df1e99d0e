// JSON text to a flat tape of tokens: Boost.JSON's event parser behind plain C.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    PULSE_JSON_NULL = 0,
    PULSE_JSON_FALSE = 1,
    PULSE_JSON_TRUE = 2,
    /// `value` is the number's text, as it was written.
    PULSE_JSON_NUMBER = 3,
    /// `value` is the string's UTF-8 with escapes undone.
    PULSE_JSON_STRING = 4,
    PULSE_JSON_ARRAY = 5,
    PULSE_JSON_OBJECT = 6,
} pulse_json_kind;

/// One value. A tape is the document in reading order: a container is followed by its members, and
/// `end` is the index after the last of them, so that stepping over a value is one assignment.
///
///      {"a":[1,2],"b":"c"}   ->   0 object end 5 | 1 "a" array end 4 | 2 1 | 3 2 | 4 "b" "c"
typedef struct {
    const char *key;
    const char *value;
    uint32_t key_count;
    uint32_t value_count;
    uint32_t end;
    uint32_t kind;
} pulse_json_token;

typedef enum {
    PULSE_JSON_FINE = 0,
    PULSE_JSON_SYNTAX = 1,
    PULSE_JSON_INCOMPLETE = 2,
    PULSE_JSON_EXTRA = 3,
    PULSE_JSON_TOO_DEEP = 4,
    PULSE_JSON_TOO_MANY = 5,
    PULSE_JSON_DUPLICATE = 6,
    PULSE_JSON_BAD_ESCAPE = 7,
    PULSE_JSON_NUMBER_RANGE = 8,
    PULSE_JSON_NO_MEMORY = 9,
} pulse_json_fault;

typedef struct {
    const pulse_json_token *tokens;
    size_t count;
    pulse_json_fault fault;
    /// Where in the text the fault is, in bytes.
    size_t offset;
} pulse_json_tape;

typedef struct pulse_json_parser pulse_json_parser;

/// A parser, or null when memory is short. `depth_max` bounds nesting, `tokens_max` values.
pulse_json_parser *pulse_json_create(size_t depth_max, size_t tokens_max);
void pulse_json_destroy(pulse_json_parser *parser);

/// Reads one document, which must be valid UTF-8 without a key twice in one object. The tape
/// borrows from `bytes` and from the parser, until the next call with the same parser.
pulse_json_tape pulse_json_parse(pulse_json_parser *parser, const void *bytes, size_t count);

/// Gives back memory that a large document needed; the tape is no longer valid.
void pulse_json_clear(pulse_json_parser *parser);

#ifdef __cplusplus
}
#endif
