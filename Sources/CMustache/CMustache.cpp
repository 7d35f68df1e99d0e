// The bridge to kainjow Mustache. Its parser and its HTML escaping are used; the walk over the parsed
// tree is ours, because the library's renderer cannot be told how long a result may become, takes the
// text "false" for true, and copies every piece through a stream.

#include "CMustache.h"

#include <kainjow/mustache.hpp>

#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using component = kainjow::mustache::component<std::string>;
using kainjow::mustache::tag_type;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Looks at the raw text before the parser does. The parser recurses per nested section and copies a
// section's text once per level, so the number of sections must be bounded first; and a tag that sets
// delimiters would blind this very count. Braces inside comments are counted too, which errs on the
// safe side.
int precheck(std::string_view text, size_t &position) {
    size_t tags = 0, sections = 0;
    for (size_t at = text.find("{{"); at != text.npos; at = text.find("{{", at + 2)) {
        size_t first = at + 2;
        while (first < text.size() && is_blank(text[first])) first++;
        const char kind = first < text.size() ? text[first] : '\0';
        position = at;
        if (kind == '=') return PULSE_MUSTACHE_DELIMITER_TAG;
        if ((kind == '#' || kind == '^') && ++sections > PULSE_MUSTACHE_SECTIONS_MAX)
            return PULSE_MUSTACHE_TOO_MANY_SECTIONS;
        if (++tags > PULSE_MUSTACHE_TAGS_MAX) return PULSE_MUSTACHE_TOO_MANY_TAGS;
    }
    return PULSE_MUSTACHE_OK;
}

// The library tells errors as English: `Unclosed section "x" at 12`. The place is the last word.
int problem_of(const std::string &message, size_t &position) {
    const auto at = message.rfind(" at ");
    position = at == message.npos ? 0 : std::strtoull(message.c_str() + at + 4, nullptr, 10);
    if (message.rfind("Unclosed tag", 0) == 0) return PULSE_MUSTACHE_UNCLOSED_TAG;
    if (message.rfind("Unclosed section", 0) == 0) return PULSE_MUSTACHE_UNCLOSED_SECTION;
    if (message.rfind("Unopened section", 0) == 0) return PULSE_MUSTACHE_UNOPENED_SECTION;
    return PULSE_MUSTACHE_FAILED;
}

// Joins neighbouring pieces of text. The parser makes a component of every space, some 150 bytes
// each; only line ends must stay apart, because a line of nothing but section tags is left out.
void join_text(component &parent) {
    std::vector<component> joined;
    for (auto &child : parent.children) {
        join_text(child);
        const bool mergeable = child.is_text() && !child.is_newline();
        if (mergeable && !joined.empty() && joined.back().is_text() && !joined.back().is_newline()) {
            joined.back().text += child.text;
        } else {
            joined.push_back(std::move(child));
        }
    }
    joined.shrink_to_fit();
    parent.children = std::move(joined);
}

void visit(const component &parent, pulse_mustache_visitor visitor, void *context) {
    const auto tell = [&](int kind, const component &tag) {
        visitor(context, kind, tag.tag.name.data(), tag.tag.name.size(), tag.position);
    };
    for (const auto &child : parent.children) {
        switch (child.tag.type) {
        case tag_type::variable: tell(PULSE_MUSTACHE_VARIABLE, child); break;
        case tag_type::unescaped_variable: tell(PULSE_MUSTACHE_RAW_VARIABLE, child); break;
        case tag_type::partial: tell(PULSE_MUSTACHE_PARTIAL, child); break;
        case tag_type::section_begin:
        case tag_type::section_begin_inverted:
            tell(child.tag.type == tag_type::section_begin ? PULSE_MUSTACHE_SECTION
                                                           : PULSE_MUSTACHE_INVERTED_SECTION,
                 child);
            visit(child, visitor, context);
            tell(PULSE_MUSTACHE_SECTION_END, child);
            break;
        default: break;
        }
    }
}

// One rendering. A line is gathered until its end and left out when it had a section tag and nothing
// else but blanks: the library's rule, and what people expect of `{{#vip}}` on a line of its own.
class rendering {
public:
    rendering(bool escapes, const uint8_t *arena, const pulse_mustache_datum *data, size_t count,
              size_t limit)
        : escapes_(escapes), arena_(reinterpret_cast<const char *>(arena)), data_(data),
          count_(count), limit_(limit) {}

    // False when the limit was passed.
    bool walk(const component &parent) {
        for (const auto &child : parent.children) {
            if (child.is_newline()) {
                end_line(child.text);
            } else if (child.is_text()) {
                line_ += child.text;
            } else if (!tag(child)) {
                return false;
            }
            if (result_.size() + line_.size() > limit_) return false;
        }
        return true;
    }

    bool finish() {
        end_line({});
        return result_.size() <= limit_;
    }

    const std::string &result() const { return result_; }

private:
    bool tag(const component &child) {
        switch (child.tag.type) {
        case tag_type::variable:
        case tag_type::unescaped_variable: {
            const auto value = find(child.tag.name);
            if (value.size() > limit_) return false;
            if (escapes_ && child.tag.type == tag_type::variable) {
                line_ += kainjow::mustache::html_escape(std::string(value));
            } else {
                line_ += value;
            }
            return true;
        }
        case tag_type::section_begin:
        case tag_type::section_begin_inverted: {
            const auto value = find(child.tag.name);
            const bool is_true = !value.empty() && value != "false";
            if (is_true != (child.tag.type == tag_type::section_begin)) {
                line_has_section_ = true;
                return true;
            }
            line_has_section_ = true;
            if (!walk(child)) return false;
            line_has_section_ = true;
            return true;
        }
        default: return true;
        }
    }

    void end_line(std::string_view line_end) {
        bool blank = true;
        for (const char c : line_) blank = blank && is_blank(c);
        if (!(line_has_section_ && blank)) {
            result_ += line_;
            result_ += line_end;
        }
        line_.clear();
        line_has_section_ = false;
    }

    std::string_view find(std::string_view name) const {
        for (size_t i = count_; i-- > 0;) {
            const auto &datum = data_[i];
            if (std::string_view(arena_ + datum.name_start, datum.name_length) == name)
                return {arena_ + datum.value_start, datum.value_length};
        }
        return {};
    }

    const bool escapes_;
    const char *const arena_;
    const pulse_mustache_datum *const data_;
    const size_t count_, limit_;
    std::string line_, result_;
    bool line_has_section_ = false;
};

} // namespace

struct pulse_mustache_template {
    component root;
};

pulse_mustache_template *pulse_mustache_parse(
    const uint8_t *bytes, size_t count, int *problem, size_t *position) {
    *position = 0;
    try {
        const std::string text(reinterpret_cast<const char *>(bytes), count);
        *problem = precheck(text, *position);
        if (*problem != PULSE_MUSTACHE_OK) return nullptr;
        auto parsed = std::make_unique<pulse_mustache_template>();
        std::string message;
        kainjow::mustache::context<std::string> outer;
        kainjow::mustache::context_internal<std::string> context{outer};
        kainjow::mustache::parser<std::string> parser{text, context, parsed->root, message};
        if (!message.empty()) {
            *problem = problem_of(message, *position);
            return nullptr;
        }
        join_text(parsed->root);
        return parsed.release();
    } catch (...) {
        *problem = PULSE_MUSTACHE_FAILED;
        return nullptr;
    }
}

void pulse_mustache_free(pulse_mustache_template *parsed) { delete parsed; }

void pulse_mustache_visit(const pulse_mustache_template *parsed, pulse_mustache_visitor visitor, void *context) {
    visit(parsed->root, visitor, context);
}

int pulse_mustache_render(
    const pulse_mustache_template *parsed, int escapes_html, const uint8_t *arena,
    const pulse_mustache_datum *data, size_t data_count, size_t limit, pulse_mustache_sink sink,
    void *context) {
    try {
        rendering run(escapes_html != 0, arena, data, data_count, limit);
        if (!run.walk(parsed->root) || !run.finish()) return -1;
        sink(context, reinterpret_cast<const uint8_t *>(run.result().data()), run.result().size());
        return 0;
    } catch (...) {
        return -1;
    }
}
