// A C target needs a source file; there is nothing to add to RocksDB's interface.
#include "CRocksDB.h"
