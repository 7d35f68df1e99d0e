// Mustache templates for Swift: parsing by kainjow Mustache, and a rendering that cannot be made to
// run away. A parsed template is immutable and may be used from any thread.

#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// What a tag is. The numbers are the ones Swift sees.
enum {
    PULSE_MUSTACHE_VARIABLE = 1,
    PULSE_MUSTACHE_RAW_VARIABLE = 2,
    PULSE_MUSTACHE_SECTION = 3,
    PULSE_MUSTACHE_INVERTED_SECTION = 4,
    PULSE_MUSTACHE_SECTION_END = 5,
    PULSE_MUSTACHE_PARTIAL = 6,
};

/// Why a template was refused.
enum {
    PULSE_MUSTACHE_OK = 0,
    PULSE_MUSTACHE_UNCLOSED_TAG = 1,
    PULSE_MUSTACHE_UNCLOSED_SECTION = 2,
    PULSE_MUSTACHE_UNOPENED_SECTION = 3,
    PULSE_MUSTACHE_DELIMITER_TAG = 4,
    PULSE_MUSTACHE_TOO_MANY_SECTIONS = 5,
    PULSE_MUSTACHE_TOO_MANY_TAGS = 6,
    PULSE_MUSTACHE_FAILED = 7,
};

/// Most tags and most sections of one template: no template needs more, and nesting is recursion.
enum {
    PULSE_MUSTACHE_TAGS_MAX = 2000,
    PULSE_MUSTACHE_SECTIONS_MAX = 64,
};

typedef struct pulse_mustache_template pulse_mustache_template;

/// One variable, as ranges of an arena of bytes that the caller owns. Of two with one name the later
/// counts.
typedef struct {
    size_t name_start, name_length;
    size_t value_start, value_length;
} pulse_mustache_datum;

typedef void (*pulse_mustache_visitor)(
    void *context, int kind, const char *name, size_t name_length, size_t position);
typedef void (*pulse_mustache_sink)(void *context, const uint8_t *bytes, size_t count);

/// Parses `count` bytes. Answers NULL and says why and where (a byte offset) when they are refused.
pulse_mustache_template *pulse_mustache_parse(
    const uint8_t *bytes, size_t count, int *problem, size_t *position);

void pulse_mustache_free(pulse_mustache_template *parsed);

/// Calls `visitor` for every tag but comments, in the order of the text.
void pulse_mustache_visit(const pulse_mustache_template *parsed, pulse_mustache_visitor visitor, void *context);

/// Renders into one call of `sink`. Answers 0, or -1 when the result is longer than `limit` bytes or
/// memory ran out; then `sink` was not called.
int pulse_mustache_render(
    const pulse_mustache_template *parsed, int escapes_html, const uint8_t *arena,
    const pulse_mustache_datum *data, size_t data_count, size_t limit, pulse_mustache_sink sink, void *context);

#ifdef __cplusplus
}
#endif
