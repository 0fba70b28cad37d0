from keras.preprocessing.image.load_img_fcn import load_img as load_img
from keras.preprocessing.image.load_img_fcn import set_load_img_type as set_load_img_type
