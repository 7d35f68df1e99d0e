// RocksDB's own C interface; Swift can call all of it directly.
#pragma once

#include <rocksdb/c.h>
