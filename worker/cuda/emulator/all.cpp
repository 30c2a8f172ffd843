// One unit, so that kernels that nothing calls by their names are there.
#include "emulator.cpp"

#include "attention.cu"
#include "ending.cu"
#include "norm.cu"
#include "patches.cu"
