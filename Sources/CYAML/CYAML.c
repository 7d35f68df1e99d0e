// Drives libyaml and flattens its events.

#include "CYAML.h"

#include <yaml.h>

static int flatten(const yaml_event_t *event, pulse_yaml_event *flat) {
    *flat = (pulse_yaml_event){
        .line = event->start_mark.line,
        .column = event->start_mark.column,
    };
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        flat->kind = PULSE_YAML_SCALAR;
        flat->text = event->data.scalar.value;
        flat->length = event->data.scalar.length;
        flat->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        flat->is_decorated = event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL;
        return 1;
    case YAML_MAPPING_START_EVENT:
        flat->kind = PULSE_YAML_MAPPING_START;
        flat->is_decorated =
            event->data.mapping_start.anchor != NULL || event->data.mapping_start.tag != NULL;
        return 1;
    case YAML_SEQUENCE_START_EVENT:
        flat->kind = PULSE_YAML_SEQUENCE_START;
        flat->is_decorated =
            event->data.sequence_start.anchor != NULL || event->data.sequence_start.tag != NULL;
        return 1;
    case YAML_MAPPING_END_EVENT: flat->kind = PULSE_YAML_MAPPING_END; return 1;
    case YAML_SEQUENCE_END_EVENT: flat->kind = PULSE_YAML_SEQUENCE_END; return 1;
    case YAML_DOCUMENT_START_EVENT: flat->kind = PULSE_YAML_DOCUMENT_START; return 1;
    case YAML_ALIAS_EVENT: flat->kind = PULSE_YAML_ALIAS; return 1;
    default: return 0;
    }
}

int pulse_yaml_parse(
    const uint8_t *bytes, size_t count, pulse_yaml_visitor visitor, void *context,
    pulse_yaml_problem *problem) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        *problem = (pulse_yaml_problem){.message = "out of memory"};
        return -1;
    }
    yaml_parser_set_input_string(&parser, bytes, count);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    int result = 0;
    for (int running = 1; running;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            // An encoding error has no mark of its own; the parser's own place is close.
            const yaml_mark_t mark =
                parser.error == YAML_READER_ERROR ? parser.mark : parser.problem_mark;
            *problem = (pulse_yaml_problem){
                .message = parser.problem ? parser.problem : "not YAML",
                .line = mark.line,
                .column = mark.column,
            };
            result = -1;
            break;
        }
        pulse_yaml_event flat;
        running = event.type != YAML_STREAM_END_EVENT;
        if (flatten(&event, &flat) && !visitor(context, &flat)) running = 0;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return result;
}
