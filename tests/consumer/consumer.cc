#include "consumer.h"

int main(int argc, char **argv) {
    return consume(argc, argv);
}
