# LibTorch >= 2.6 through Torch_DIR; by default the CPU wheel that tools/setup puts into .venv.
# Never found through CMAKE_PREFIX_PATH: that would also pick up the wheel's own protoc.
if(NOT Torch_DIR)
  file(GLOB torch_config_dirs
    ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch/share/cmake/Torch)
  if(torch_config_dirs)
    list(GET torch_config_dirs 0 Torch_DIR)
  endif()
endif()
find_package(Torch 2.6 REQUIRED)

# Torch's targets would put its include folder (and the protobuf and fmt in it) first.
foreach(target torch torch_cpu torch_cpu_library torch_library c10 torch_cuda torch_cuda_library c10_cuda
        caffe2::mkl)
  if(TARGET ${target})
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ""
      INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "")
  endif()
endforeach()

add_library(concertina_torch INTERFACE)
foreach(dir ${TORCH_INCLUDE_DIRS})
  target_compile_options(concertina_torch INTERFACE "SHELL:-idirafter ${dir}")
endforeach()
target_link_libraries(concertina_torch INTERFACE torch c10)
get_filename_component(torch_lib_dir ${Torch_DIR}/../../../lib ABSOLUTE)
target_link_options(concertina_torch INTERFACE -Wl,-rpath,${torch_lib_dir})
