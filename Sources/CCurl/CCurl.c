// A C target needs a source file; the wrappers are inline in the header.
#include "CCurl.h"
